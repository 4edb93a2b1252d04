"""One module an event: parse it, call one step, answer. The handlers come with the cloud adapters."""
