"""Lost data frames from parity."""
