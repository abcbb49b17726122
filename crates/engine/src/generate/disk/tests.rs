//! What is not exactly what was written is never believed.

use super::file;
use proptest::prelude::*;
use std::io::{self, Read};
use std::path::Path;

const FINGERPRINT: u64 = 0x1234_5678_9abc_def0;

fn written(tokens: &[u32], content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    file::write(&mut bytes, FINGERPRINT, tokens, content.len() as u64, &mut |to| to.write_all(content))
        .unwrap();
    bytes
}

fn read(path: &Path) -> io::Result<(u64, Vec<u32>, Vec<u8>)> {
    let (header, open) = file::open(path)?;
    let (tokens, mut rest) = file::tokens(&header, open)?;
    let mut content = Vec::new();
    rest.read_to_end(&mut content)?;
    Ok((header.fingerprint, tokens, content))
}

#[test]
fn what_was_written_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.kv");
    for n in [0, 1, 1000, (1 << 20) - 12, 1 << 20, 3_000_000] {
        let content: Vec<u8> = (0..n).map(|at: u32| (at * 7 / 5) as u8).collect();
        let bytes = written(&[1, 2, u32::MAX], &content);
        std::fs::write(&path, &bytes).unwrap();
        let (header, _) = file::open(&path).unwrap();
        assert_eq!(header.file_bytes(), Some(bytes.len() as u64));
        assert_eq!(read(&path).unwrap(), (FINGERPRINT, vec![1, 2, u32::MAX], content));
    }
}

#[test]
fn every_flipped_bit_and_every_missing_byte_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.kv");
    let good = written(&[5, 6, 7], &[9; 60]);
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            std::fs::write(&path, &bad).unwrap();
            assert!(read(&path).is_err(), "bit {bit} of byte {at}");
        }
        std::fs::write(&path, &good[..at]).unwrap();
        assert!(read(&path).is_err(), "cut at {at}");
    }
    std::fs::write(&path, [&good[..], &[0]].concat()).unwrap();
    assert!(read(&path).is_err(), "a byte too many");
}

#[test]
fn parts_in_another_order_are_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.kv");
    let content: Vec<u8> = (0..3_u32 << 20).map(|at| (at >> 12) as u8).collect();
    let mut bytes = written(&[], &content);
    let part = (1 << 20) + 4;
    let (first, rest) = bytes[48..].split_at_mut(part);
    first.swap_with_slice(&mut rest[..part]);
    std::fs::write(&path, &bytes).unwrap();
    assert!(read(&path).is_err());
}

proptest! {
    #[test]
    fn other_bytes_are_not_believed(bytes in prop::collection::vec(any::<u8>(), 0..400), begins_right in any::<bool>()) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.kv");
        let mut all = if begins_right { written(&[], &[])[..24].to_vec() } else { Vec::new() };
        all.extend(bytes);
        std::fs::write(&path, &all).unwrap();
        prop_assert!(read(&path).is_err());
    }
}
