//! boca-store
