/* Between bytes and I_PCM macroblocks, as `macroblocks.py` says in numpy, byte for byte: one pass instead of six.

Compiled when the package is installed, where there is a compiler (`hatch_build.py`); no header of Python's is needed,
for it is called through ctypes, which lets other threads run meanwhile. The caller sees to it that every buffer has the
room that `macroblocks.py` asks for; of a stream nothing is read at or behind `end`.

Source: ITU-T H.264 (08/2021) 7.3.5 macroblock layer, 7.4.1 emulation prevention; FORMAT.md sections 3 to 5. */

#include <stdint.h>
#include <string.h>

#define BLOCK 384
#define CODED 386
#define HEADER 128
#define WHITENING 65536

#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif

/* Raised with every change of what a function takes or gives: a library of another state is not used. */
int64_t bytereel_macroblocks_state(void) { return 1; }

/* Whether two neighbours are both zero among a macroblock as coded and the two bytes before it. */
WIDE static int has_zero_pair(const uint8_t *from)
{
    uint8_t found = 0;
    for (int i = 0; i < CODED + 1; i++)
        found |= (uint8_t)((uint8_t)(from[i] | from[i + 1]) == 0);
    return found;
}

WIDE static void whiten(uint8_t *target, const uint8_t *source, const uint8_t *mask)
{
    for (int i = 0; i < BLOCK; i++)
        target[i] = source[i] ^ mask[i];
}

static int zeros_before(const uint8_t *stream, int64_t position)
{
    if (position < 1 || stream[position - 1])
        return 0;
    return position >= 2 && !stream[position - 2] ? 2 : 1;
}

/* As `write_macroblocks` in macroblocks.py. */
int64_t bytereel_write_macroblocks(const uint8_t *image, int64_t length, const uint8_t *table, int64_t shift,
                                   uint8_t *stream, int64_t position)
{
    int64_t count = (length + BLOCK - 1) / BLOCK;
    uint8_t raw[CODED];
    for (int64_t block = 0; block < count; block++) {
        int64_t start = position;
        const uint8_t *source = image + block * BLOCK;
        if (block) {
            stream[position] = 0x0D;
            stream[position + 1] = 0x00;
            position += 2;
        }
        whiten(stream + position, source, table + (shift + block * BLOCK) % WHITENING);
        if (!block)
            memcpy(stream + position, source, HEADER);
        position += BLOCK;
        if (!has_zero_pair(stream + start - 2))
            continue;
        int size = (int)(position - start), zeros = zeros_before(stream, start);
        memcpy(raw, stream + start, (size_t)size);
        position = start;
        for (int i = 0; i < size; i++) {
            if (zeros == 2 && raw[i] <= 3) {
                stream[position++] = 3;
                zeros = 0;
            }
            stream[position++] = raw[i];
            zeros = raw[i] ? 0 : zeros + 1;
        }
    }
    return position;
}

/* `count` bytes of the stream without prevention bytes; the end in the stream, -1 where it ends early. */
static int64_t unescape(const uint8_t *stream, int64_t position, int64_t end, int count, uint8_t *raw)
{
    int zeros = zeros_before(stream, position);
    for (int done = 0; done < count;) {
        if (position >= end)
            return -1;
        uint8_t value = stream[position++];
        if (zeros >= 2 && value == 3) {
            zeros = 0;
            continue;
        }
        raw[done++] = value;
        zeros = value ? 0 : zeros + 1;
    }
    return position;
}

/* As `read_header` in macroblocks.py. */
int64_t bytereel_read_header(const uint8_t *stream, int64_t position, int64_t end, uint8_t *raw)
{
    return unescape(stream, position, end, HEADER, raw);
}

/* As `read_macroblocks` in macroblocks.py. */
int64_t bytereel_read_macroblocks(const uint8_t *stream, int64_t position, int64_t end, int64_t length,
                                  const uint8_t *table, int64_t shift, uint8_t *image)
{
    int64_t count = (length + BLOCK - 1) / BLOCK;
    uint8_t raw[CODED];
    for (int64_t block = 0; block < count; block++) {
        int skip = block ? 2 : 0;
        const uint8_t *source = stream + position;
        uint8_t *target = image + block * BLOCK;
        if (position >= 2 && position + CODED <= end && !has_zero_pair(source - 2)) {
            position += skip + BLOCK;
        } else {
            position = unescape(stream, position, end, skip + BLOCK, raw);
            if (position < 0)
                return -1;
            source = raw;
        }
        if (skip && (source[0] != 0x0D || source[1] != 0x00))
            return -1;
        source += skip;
        whiten(target, source, table + (shift + block * BLOCK) % WHITENING);
        if (!block)
            memcpy(target, source, HEADER);
    }
    return position;
}
