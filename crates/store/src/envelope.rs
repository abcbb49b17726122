//! The envelope around every record: schema, length, checksum.
//!
//! Layout, big-endian: schema `u16`, payload length `u32`, CRC-32 (IEEE) of schema, length and payload `u32`, payload.

/// Bytes before the payload.
pub(crate) const HEADER_BYTES: usize = 10;

/// A record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    #[error("the record has {0} bytes, fewer than its header")]
    NoHeader(usize),
    #[error("the record should have {expected} bytes, found {found}")]
    Length { expected: usize, found: usize },
    #[error("the record's checksum is {expected:08x}, its bytes give {found:08x}")]
    Checksum { expected: u32, found: u32 },
    #[error("the record has schema {0}, which this version does not know")]
    Schema(u16),
    #[error("the record's content is not what its schema says: {0}")]
    Content(String),
}

/// Puts a payload into its envelope.
pub(crate) fn wrap(schema: u16, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("payloads are bounded far below 4 GiB by the callers");
    let mut record = Vec::with_capacity(HEADER_BYTES + payload.len());
    record.extend_from_slice(&schema.to_be_bytes());
    record.extend_from_slice(&length.to_be_bytes());
    let checksum = checksum(&record, payload);
    record.extend_from_slice(&checksum.to_be_bytes());
    record.extend_from_slice(payload);
    record
}

/// The whole record's length that a header promises.
pub(crate) fn promised_bytes(head: &[u8]) -> Result<usize, Damage> {
    match head {
        [_, _, a, b, c, d, _, _, _, _, ..] => {
            Ok(HEADER_BYTES + u32::from_be_bytes([*a, *b, *c, *d]) as usize)
        }
        _ => Err(Damage::NoHeader(head.len())),
    }
}

/// Takes a payload out of its envelope.
pub(crate) fn unwrap(record: &[u8]) -> Result<(u16, &[u8]), Damage> {
    let expected = promised_bytes(record)?;
    if record.len() != expected {
        return Err(Damage::Length { expected, found: record.len() });
    }
    let (header, payload) = record.split_at(HEADER_BYTES);
    let promised = u32::from_be_bytes([header[6], header[7], header[8], header[9]]);
    let found = checksum(&header[..6], payload);
    if promised != found {
        return Err(Damage::Checksum { expected: promised, found });
    }
    Ok((u16::from_be_bytes([header[0], header[1]]), payload))
}

fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out(schema: u16, payload: Vec<u8>) {
            let record = wrap(schema, &payload);
            prop_assert_eq!(unwrap(&record), Ok((schema, payload.as_slice())));
        }

        #[test]
        fn any_flipped_bit_is_noticed(payload in prop::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, bit in 0..8u8) {
            let mut record = wrap(1, &payload);
            let at = at.index(record.len());
            record[at] ^= 1 << bit;
            prop_assert!(unwrap(&record).is_err());
        }

        #[test]
        fn any_cut_is_noticed(payload in prop::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index) {
            let record = wrap(1, &payload);
            prop_assert!(unwrap(&record[..at.index(record.len())]).is_err());
        }
    }
}
