"""The gateway as a process, spoken to over a socket by somebody who does not care for HTTP."""
