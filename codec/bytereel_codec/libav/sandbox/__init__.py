"""Foreign videos are parsed and decoded here, in a child that may do nothing else and that nobody believes.

One server a process (`server`, started by `launch` when the first foreign video is met) is a fresh interpreter that has
PyAV loaded and one thread. It forks a child for each job; the child gives up what it could do harm with (`confine`),
and runs the job (`decoder`). It asks the parent for the file's bytes and puts pictures into memory that both share
(`memory`), with short messages of one size between them (`wire`). The parent's side (`run`) checks each of them.
"""
