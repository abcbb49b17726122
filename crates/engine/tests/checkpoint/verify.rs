//! Reading everything: paging in, and looking for numbers that cannot be right.

use crate::support::{Copied, open_shape, shapes};

#[test]
fn good_checkpoints_verify() {
    for shape in shapes() {
        let checkpoint = open_shape(&shape);
        let mut reported = Vec::new();
        let report = checkpoint.verify(&mut |done, total| reported.push((done, total)));
        assert!(report.is_good(), "{shape}: {report:?}");
        let size: u64 = report.files.iter().map(|file| file.size_bytes).sum();
        assert_eq!(reported.last(), Some(&(size, size)), "{shape}");
        let in_files: usize = report.files.iter().map(|file| file.n_tensors).sum();
        assert!(in_files > 20, "{shape}");
    }
}

#[test]
fn paging_in_reports_every_byte_once() {
    for shape in shapes() {
        let checkpoint = open_shape(&shape);
        let mut reported = Vec::new();
        checkpoint.page_in(&mut |done, total| reported.push((done, total)));
        let total = checkpoint.weights_bytes;
        assert_eq!(reported.first(), Some(&(0, total)), "{shape}");
        assert_eq!(reported.last(), Some(&(total, total)), "{shape}");
        assert!(reported.is_sorted(), "{shape}");
    }
}

#[test]
fn numbers_that_cannot_be_right_are_found() {
    let copied = Copied::of("air-4bit");
    copied.edit_tensors(|tensors| {
        // bf16: infinity in the third scale, not a number in the last bias.
        let scales = tensors.get_mut("lm_head.scales").unwrap();
        scales.bytes[4..6].copy_from_slice(&0x7f80_u16.to_le_bytes());
        let biases = tensors.get_mut("model.layers.0.self_attn.q_proj.biases").unwrap();
        let end = biases.bytes.len();
        biases.bytes[end - 2..].copy_from_slice(&0x7fc1_u16.to_le_bytes());
        tensors.get_mut("model.embed_tokens.weight").unwrap().bytes.fill(0);
    });
    let report = copied.open().unwrap().verify(&mut |_, _| ());
    assert!(!report.is_good());
    let mut problems: Vec<_> =
        report.problems.iter().map(|p| (p.tensor.as_str(), p.problem.as_str())).collect();
    problems.sort_unstable();
    assert_eq!(
        problems,
        [
            ("lm_head.scales", "expected finite numbers, found 1 others, the first inf at 2"),
            ("model.embed_tokens.weight", "expected weights, found zeros only"),
            (
                "model.layers.0.self_attn.q_proj.biases",
                "expected finite numbers, found 1 others, the first NaN at 383"
            ),
        ]
    );
    assert!(report.problems.iter().all(|p| p.file.ends_with("model.safetensors")));
}

#[test]
fn the_checksum_is_the_common_crc_32() {
    let copied = Copied::of("air-4bit");
    let bytes = std::fs::read(copied.file("model.safetensors")).unwrap();
    let report = copied.open().unwrap().verify(&mut |_, _| ());
    assert_eq!(report.files[0].crc32, crc_32_bit_by_bit(&bytes));
}

/// The textbook's definition of CRC-32 (IEEE 802.3).
fn crc_32_bit_by_bit(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}
