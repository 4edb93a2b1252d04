"""The one room that knows PyAV."""
