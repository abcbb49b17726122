//! boca-cli
