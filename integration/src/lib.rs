//! Nothing but a place for `tests/promises`: what Assay promises, shown with real systems.
