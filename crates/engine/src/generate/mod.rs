//! Generation above a backend.
