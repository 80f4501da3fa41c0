"""Pure decisions: which window, which pages, when to try again. No await, no clock of its own."""
