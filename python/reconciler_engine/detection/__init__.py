"""Gap detection: native when it is built, pure Python otherwise, with the same answers and errors."""
