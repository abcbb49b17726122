//! boca-api
