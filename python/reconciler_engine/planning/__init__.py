"""Pure decisions: which slots to examine, which pages to request, when to retry. No I/O and no clock."""
