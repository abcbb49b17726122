//! Held against the `safetensors` crate: what it accepts we accept, and nothing makes the reader panic.

use super::*;
use ::safetensors::tensor::{Dtype, SafeTensors, TensorView};
use proptest::prelude::*;

fn file_of(header: &str, n_data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + n_data, 7);
    bytes
}

fn error_of(bytes: &[u8]) -> String {
    read_header("m.safetensors", bytes).unwrap_err().to_string()
}

#[test]
fn every_kind_of_damage_has_its_words() {
    let a = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    let cases = [
        (b"".to_vec(), "m.safetensors: expected at least 8 bytes, found 0 bytes"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n".to_vec(),
            "m.safetensors: expected tensors, found a Git LFS pointer: fetch the file itself (git lfs pull)",
        ),
        (
            100_000_000_u64.to_le_bytes().to_vec(),
            "m.safetensors: expected a header of less than 100000000 bytes, found 100000000 bytes",
        ),
        (
            u64::MAX.to_le_bytes().to_vec(),
            "m.safetensors: expected a header of less than 100000000 bytes, found 18446744073709551615 bytes",
        ),
        (
            file_of(&format!("{{{a}}}"), 0)[..30].to_vec(),
            "m.safetensors: expected a header of 54 bytes, found 22 bytes after its length (truncated)",
        ),
        (
            file_of("{\"a\u{1}", 0),
            "m.safetensors: expected a header of JSON, found control character (\\u0000-\\u001F) found while \
             parsing a string at line 1 column 4",
        ),
        (
            file_of("[]", 0),
            "m.safetensors: expected a header of JSON, found invalid type: sequence, expected an object of tensors at \
             line 1 column 0",
        ),
        (
            [2_u64.to_le_bytes().as_slice(), &[b'{', 0xff]].concat(),
            "m.safetensors: expected a header in UTF-8, found other bytes at 1",
        ),
        (
            file_of(&format!("{{{a},{a}}}"), 8),
            "m.safetensors: tensor `a`: expected one entry in the header, found two entries",
        ),
        (
            file_of(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8),
            "m.safetensors: tensor `a`: expected offsets in order, found offsets 8..0",
        ),
        (
            file_of(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8),
            "m.safetensors: tensor `a`: expected 12 bytes for F32 [3], found 8 bytes at 0..8",
        ),
        (
            file_of(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#, 8),
            "m.safetensors: tensor `a`: expected a shape that memory can hold, found F32 [4294967296, 4294967296]",
        ),
        (
            file_of(&format!(r#"{{{a},"b":{{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}}}"#), 8),
            "m.safetensors: tensor `b`: expected data at 8, right after `a`, found data at 4 (an overlap)",
        ),
        (
            file_of(&format!(r#"{{{a},"b":{{"dtype":"F32","shape":[1],"data_offsets":[12,16]}}}}"#), 16),
            "m.safetensors: tensor `b`: expected data at 8, right after `a`, found data at 12 (a gap)",
        ),
        (
            file_of(&format!("{{{a}}}"), 7),
            "m.safetensors: tensor `a`: expected data at 0..8, found only 7 bytes of data in the file (truncated)",
        ),
        (
            file_of(&format!("{{{a}}}"), 9),
            "m.safetensors: expected 8 bytes of data by the header, found 9 bytes",
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(error_of(&bytes), expected);
    }
}

#[test]
fn a_hostile_name_does_not_flood_the_message() {
    let name = "é".repeat(100_000);
    let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}}}"#);
    assert!(error_of(&file_of(&header, 8)).len() < 500);
}

#[test]
fn unknown_types_and_metadata_are_no_obstacle() {
    let header = r#"{"__metadata__":{"format":"mlx"},"b":{"dtype":"F2_NEW","shape":[9],"data_offsets":[4,7]},
        "a":{"dtype":"U32","shape":[],"data_offsets":[0,4]}}   "#;
    let tensors = read_header("m", &file_of(header, 7)).unwrap();
    assert_eq!(tensors.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(tensors[0].dtype, DType::U32);
    assert_eq!(tensors[1].dtype, DType::Other("F2_NEW".into()));
    assert_eq!(tensors[1].range.len(), 3);
}

fn any_dtype() -> impl Strategy<Value = (Dtype, usize)> {
    prop::sample::select(vec![
        (Dtype::BF16, 2),
        (Dtype::F16, 2),
        (Dtype::F32, 4),
        (Dtype::U32, 4),
        (Dtype::U8, 1),
        (Dtype::I64, 8),
    ])
}

/// Headers that are nearly right: the numbers come from a small set, so that overlaps, gaps and wrong sizes occur,
/// but good files as well.
fn near_header() -> impl Strategy<Value = String> {
    let number = || {
        prop::sample::select(vec![
            "0",
            "1",
            "2",
            "4",
            "8",
            "12",
            "16",
            "-1",
            "1.5",
            "18446744073709551615",
            "null",
        ])
    };
    let dtype = prop::sample::select(vec!["F32", "U32", "BF16", "F64", "F4", "X", ""]);
    let tensor = ("[a-c]", dtype, prop::collection::vec(number(), 0..3), number(), number()).prop_map(
        |(name, dtype, shape, begin, end)| {
            let shape = shape.join(",");
            format!(r#""{name}":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{begin},{end}]}}"#)
        },
    );
    prop::collection::vec(tensor, 0..4).prop_map(|tensors| format!("{{{}}}", tensors.join(",")))
}

/// Whether the header has a name twice or a type that the crate does not know; there we differ on purpose.
fn is_beyond_the_oracle(header: &str) -> bool {
    header.contains(r#""X""#)
        || header.contains(r#""dtype":"""#)
        || ["a", "b", "c"].iter().any(|name| header.matches(&format!("\"{name}\":")).count() > 1)
}

proptest! {
    #[test]
    fn files_of_the_crate_are_read_as_it_wrote_them(
        tensors in prop::collection::btree_map("[a-z.]{1,9}", (any_dtype(), prop::collection::vec(0_usize..4, 0..4)), 0..6),
    ) {
        let data: Vec<_> = tensors
            .iter()
            .map(|(name, ((dtype, size), shape))| {
                let n = shape.iter().product::<usize>() * size;
                (name, *dtype, shape.clone(), (0..n).map(|i| i as u8).collect::<Vec<_>>())
            })
            .collect();
        let views = data.iter().map(|(name, dtype, shape, bytes)| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        let file = ::safetensors::serialize(views, None).unwrap();
        let read = read_header("m", &file).unwrap();
        prop_assert_eq!(read.len(), data.len());
        for (name, dtype, shape, bytes) in &data {
            let entry = read.iter().find(|entry| entry.name == **name).unwrap();
            prop_assert_eq!(entry.dtype.to_string(), dtype.to_string());
            prop_assert_eq!(&entry.shape, shape);
            prop_assert_eq!(&file[entry.range.clone()], &bytes[..]);
        }
    }

    #[test]
    fn near_headers_are_judged_as_the_crate_judges_them(header in near_header(), n_data in 0_usize..20) {
        let file = file_of(&header, n_data);
        let ours = read_header("m", &file);
        if !is_beyond_the_oracle(&header) {
            let theirs = SafeTensors::deserialize(&file);
            prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{} with {} bytes: {:?} against {:?}", header, n_data, ours, theirs.err());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), length in 0_u64..220, text in ".{0,80}") {
        // Refusing is the rule; what counts is that it comes back.
        drop(read_header("m", &bytes));
        drop(read_header("m", &[&length.to_le_bytes(), &bytes[..]].concat()));
        drop(read_header("m", &file_of(&text, 9)));
    }

    #[test]
    fn a_flipped_byte_never_makes_it_panic(at in 0_usize..90, byte in any::<u8>()) {
        let mut file = file_of(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 8);
        let at = at % file.len();
        file[at] = byte;
        if let Ok(tensors) = read_header("m", &file) {
            prop_assert!(tensors.iter().all(|t| t.range.end <= file.len()));
        }
    }
}
