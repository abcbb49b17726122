//! Every instruction set that this processor has against plain arithmetic in f64, and against itself.
//!
//! Tolerance: a kernel sums in f32, in another order than the oracle, so it may be off by a few rounding errors of
//! the magnitudes it adds: `1e-6 * sum of |x * w|` (f32 rounds to 6e-8; lanes and blocks keep chains of additions
//! short). Nothing else is granted, because unpacked weights are the same numbers up to one rounding.

use super::super::isa::Isa;
use super::{AttentionBlock, KV_BLOCK_TOKENS, Kernels, NarrowRows, Panel, Rows, Start, write_row};
use crate::checkpoint::{Bytes, FloatType, Matrix, MatrixData, TensorBytes};
use boca_core::KvPrecision;
use proptest::prelude::*;
use std::sync::Arc;

const FLOATS: [FloatType; 3] = [FloatType::Bf16, FloatType::F16, FloatType::F32];

fn available() -> impl Iterator<Item = (Isa, Kernels)> {
    Isa::ALL.into_iter().filter_map(|isa| isa.kernels().map(|kernels| (isa, kernels)))
}

/// A small generator, so that a case is named by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Between -1 and 1.
    fn number(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn numbers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.number()).collect()
    }
}

fn encode(float: FloatType, numbers: &[f32]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| match float {
            FloatType::Bf16 => half::bf16::from_f32(*number).to_le_bytes().to_vec(),
            FloatType::F16 => half::f16::from_f32(*number).to_le_bytes().to_vec(),
            FloatType::F32 => number.to_le_bytes().to_vec(),
        })
        .collect()
}

fn decode(float: FloatType, bytes: &[u8]) -> Vec<f32> {
    let pair = |bytes: &[u8]| [bytes[0], bytes[1]];
    match float {
        FloatType::Bf16 => bytes.chunks(2).map(|b| half::bf16::from_le_bytes(pair(b)).to_f32()).collect(),
        FloatType::F16 => bytes.chunks(2).map(|b| half::f16::from_le_bytes(pair(b)).to_f32()).collect(),
        FloatType::F32 => bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
    }
}

/// Bytes that begin `offset` bytes into an allocation and end with it, so that a read past the end is caught by
/// whatever watches memory.
fn placed(bytes: &[u8], offset: usize) -> TensorBytes {
    let mut file = vec![0xA5; offset];
    file.extend_from_slice(bytes);
    let end = file.len();
    TensorBytes::new(Arc::new(Bytes::Owned(file)), offset..end)
}

fn dense(random: &mut Random, float: FloatType, n_out: usize, n_in: usize, offset: usize) -> Matrix {
    let values = placed(&encode(float, &random.numbers(n_out * n_in)), offset);
    Matrix { n_out, n_in, data: MatrixData::Dense { float, values } }
}

fn affine(
    random: &mut Random,
    (bits, group_size, float): (u8, usize, FloatType),
    n_out: usize,
    n_groups: usize,
    offset: usize,
) -> Matrix {
    let n_in = n_groups * group_size;
    let packed: Vec<u8> = (0..n_out * n_in * usize::from(bits) / 8).map(|_| random.next() as u8).collect();
    let scales: Vec<f32> = random.numbers(n_out * n_groups).iter().map(|x| x / f32::from(bits)).collect();
    let data = MatrixData::Affine {
        bits,
        group_size,
        packed: placed(&packed, offset),
        float,
        scales: placed(&encode(float, &scales), offset),
        biases: placed(&encode(float, &random.numbers(n_out * n_groups)), offset + 1),
    };
    Matrix { n_out, n_in, data }
}

/// The oracle: MLX's bit stream read bit by bit, in f64.
fn values(matrix: &Matrix) -> Vec<f64> {
    match &matrix.data {
        MatrixData::Dense { float, values } => decode(*float, values).into_iter().map(f64::from).collect(),
        MatrixData::Affine { bits, group_size, packed, float, scales, biases } => {
            let (scales, biases) = (decode(*float, scales), decode(*float, biases));
            let bits = usize::from(*bits);
            (0..matrix.n_out * matrix.n_in)
                .map(|i| {
                    let bit = |b: usize| u64::from(packed[(i * bits + b) / 8] >> ((i * bits + b) % 8) & 1);
                    let q: u64 = (0..bits).map(|b| bit(b) << b).sum();
                    q as f64 * f64::from(scales[i / group_size]) + f64::from(biases[i / group_size])
                })
                .collect()
        }
    }
}

fn multiply(
    kernels: &Kernels,
    matrix: &Matrix,
    bias: Option<&[f32]>,
    x: &[f32],
    outs: std::ops::Range<usize>,
) -> Vec<f32> {
    let n_rows = x.len() / matrix.n_in;
    let mut y = vec![f32::NAN; n_rows * matrix.n_out];
    let start = bias.map_or(Start::Zero, Start::Bias);
    // SAFETY: `y` has a number for every row and output, and nobody else has it.
    let panel = unsafe { Panel::new(Rows::new(matrix), outs, start, x, n_rows, y.as_mut_ptr()) };
    kernels.multiply(&panel);
    y
}

/// Holds every instruction set against the oracle, and every row against the same row alone.
fn check(matrix: &Matrix, x: &[f32], bias: Option<&[f32]>) {
    let (n_in, n_out) = (matrix.n_in, matrix.n_out);
    let weights = values(matrix);
    for (isa, kernels) in available() {
        let y = multiply(&kernels, matrix, bias, x, 0..n_out);
        for (row, x) in x.chunks_exact(n_in).enumerate() {
            for out in 0..n_out {
                let products = weights[out * n_in..][..n_in].iter().zip(x).map(|(w, x)| w * f64::from(*x));
                let (mut exact, mut size) = (0.0, 0.0);
                for product in products {
                    exact += product;
                    size += product.abs();
                }
                let bias = bias.map_or(0.0, |bias| f64::from(bias[out]));
                let error = (f64::from(y[row * n_out + out]) - exact - bias).abs();
                let allowed = 1e-6 * (size + bias.abs()) + 1e-30;
                assert!(error <= allowed, "{isa}: row {row}, output {out}: off by {error:e} of {allowed:e}");
            }
            let alone = multiply(&kernels, matrix, bias, x, 0..n_out);
            assert_eq!(alone, y[row * n_out..][..n_out], "{isa}: row {row} depends on its neighbours");
        }
        // A part of the outputs is computed the same way and leaves the others alone.
        let (first, last) = (n_out / 3, n_out - n_out / 4);
        let part = multiply(&kernels, matrix, bias, x, first..last);
        for (i, (part, y)) in part.iter().zip(&y).enumerate() {
            let inside = (first..last).contains(&(i % n_out));
            assert!(if inside { part == y } else { part.is_nan() }, "{isa}: output {i}");
        }
        let mut row = vec![f32::NAN; n_in];
        kernels.unpack_row(&Rows::new(matrix), n_out - 1, &mut row);
        for (unpacked, exact) in row.iter().zip(&weights[(n_out - 1) * n_in..]) {
            assert!((f64::from(*unpacked) - exact).abs() <= 1e-6 * (exact.abs() + 256.0), "{isa}: unpacked");
        }
    }
}

#[test]
fn all_bits_groups_and_floats() {
    let mut random = Random(1);
    for bits in [2, 3, 4, 5, 6, 8] {
        for group_size in [32, 64, 128] {
            for float in FLOATS {
                for (n_rows, n_out, n_groups) in [(1, 5, 1), (2, 4, 3), (3, 9, 5), (4, 3, 2), (8, 17, 17)] {
                    let matrix = affine(&mut random, (bits, group_size, float), n_out, n_groups, 3);
                    let x = random.numbers(n_rows * matrix.n_in);
                    check(&matrix, &x, None);
                }
            }
        }
    }
}

#[test]
fn dense_rows_of_every_width() {
    let mut random = Random(2);
    for float in FLOATS {
        for n_in in (1..=35).chain([511, 512, 513, 1030]) {
            for n_rows in [1, 3, 5] {
                let matrix = dense(&mut random, float, 6, n_in, 1);
                let x = random.numbers(n_rows * n_in);
                check(&matrix, &x, None);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn affine_products(
        bits in prop::sample::select(vec![2u8, 3, 4, 5, 6, 8]),
        group_size in prop::sample::select(vec![32usize, 64, 128]),
        float in prop::sample::select(FLOATS.to_vec()),
        n_rows in 1usize..12,
        n_out in 1usize..24,
        n_groups in 1usize..20,
        offset in 0usize..64,
        with_bias: bool,
        seed: u64,
    ) {
        let mut random = Random(seed);
        let matrix = affine(&mut random, (bits, group_size, float), n_out, n_groups, offset);
        let (x, bias) = (random.numbers(n_rows * matrix.n_in), random.numbers(n_out));
        check(&matrix, &x, with_bias.then_some(&bias[..]));
    }

    #[test]
    fn dense_products(
        float in prop::sample::select(FLOATS.to_vec()),
        n_rows in 1usize..12,
        n_out in 1usize..24,
        n_in in 1usize..1200,
        offset in 0usize..64,
        with_bias: bool,
        seed: u64,
    ) {
        let mut random = Random(seed);
        let matrix = dense(&mut random, float, n_out, n_in, offset);
        let (x, bias) = (random.numbers(n_rows * n_in), random.numbers(n_out));
        check(&matrix, &x, with_bias.then_some(&bias[..]));
    }

    #[test]
    fn attention_is_a_softmax_over_all_blocks(
        n_heads in 1usize..=16,
        head_dim in 1usize..140,
        n_tokens in 1usize..100,
        seed: u64,
    ) {
        let mut random = Random(seed);
        let queries: Vec<f32> = random.numbers(n_heads * head_dim).iter().map(|x| x * 3.0).collect();
        let n_blocks = n_tokens.div_ceil(KV_BLOCK_TOKENS);
        let keys = random.numbers(n_blocks * KV_BLOCK_TOKENS * head_dim);
        let values = random.numbers(n_blocks * KV_BLOCK_TOKENS * head_dim);
        for (isa, kernels) in available() {
            let all = attend(&kernels, &queries, &keys, &values, n_heads, n_tokens);
            for head in 0..n_heads {
                let query = &queries[head * head_dim..][..head_dim];
                let alone = attend(&kernels, query, &keys, &values, 1, n_tokens);
                prop_assert_eq!(&alone[..], &all[head * head_dim..][..head_dim], "{} head {}", isa, head);
                let exact = exact_attention(query, &keys, &values, n_tokens);
                for (output, exact) in alone.iter().zip(exact) {
                    // Scores of up to 420 are rounded to 3e-5, and so are the weights.
                    prop_assert!((f64::from(*output) - exact).abs() < 1e-4, "{}: {} is not {}", isa, output, exact);
                }
            }
        }
    }
}

fn attend(
    kernels: &Kernels,
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    n_heads: usize,
    n_tokens: usize,
) -> Vec<f32> {
    let head_dim = queries.len() / n_heads;
    let block_size = KV_BLOCK_TOKENS * head_dim;
    let mut largest = vec![f32::NEG_INFINITY; n_heads];
    let mut weight_sums = vec![0.0; n_heads];
    let mut outputs = vec![0.0; queries.len()];
    for (block, (keys, values)) in keys.chunks(block_size).zip(values.chunks(block_size)).enumerate() {
        kernels.attend(&mut AttentionBlock {
            queries,
            keys,
            values,
            head_dim,
            n_tokens: (n_tokens - block * KV_BLOCK_TOKENS).min(KV_BLOCK_TOKENS),
            largest: &mut largest,
            weight_sums: &mut weight_sums,
            outputs: &mut outputs,
        });
    }
    for (output, sum) in outputs.chunks_mut(head_dim).zip(weight_sums) {
        output.iter_mut().for_each(|number| *number /= sum);
    }
    outputs
}

fn exact_attention(query: &[f32], keys: &[f32], values: &[f32], n_tokens: usize) -> Vec<f64> {
    let head_dim = query.len();
    let score = |key: &[f32]| query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum::<f64>();
    let scores: Vec<f64> = keys.chunks(head_dim).take(n_tokens).map(score).collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    (0..head_dim)
        .map(|i| {
            let value = |token: usize| f64::from(values[token * head_dim + i]);
            weights.iter().enumerate().map(|(token, weight)| weight * value(token)).sum::<f64>() / sum
        })
        .collect()
}

#[test]
fn norm_activation_and_sum() {
    let mut random = Random(3);
    for n in [1, 7, 8, 15, 16, 17, 100, 515] {
        let (x, weight) = (random.numbers(n), random.numbers(n));
        for (isa, kernels) in available() {
            let mut normed = x.clone();
            kernels.rms_norm(&mut normed, &weight, 1e-5);
            let square_mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / n as f64;
            let mut activated: Vec<f32> = x.iter().map(|x| x * 90.0).collect();
            kernels.silu_mul(&mut activated, &weight);
            let mut sum = x.clone();
            kernels.add_scaled(&mut sum, &weight, 0.5);
            for i in 0..n {
                let (x, w) = (f64::from(x[i]), f64::from(weight[i]));
                let exact = x / (square_mean + 1e-5).sqrt() * w;
                assert!((f64::from(normed[i]) - exact).abs() < 1e-6 * exact.abs() + 1e-7, "{isa}: norm");
                let wide = f64::from(x as f32 * 90.0);
                let exact = wide / (1.0 + (-wide).exp()) * w;
                assert!((f64::from(activated[i]) - exact).abs() < 1e-6 * exact.abs() + 1e-30, "{isa}: silu");
                assert!((f64::from(sum[i]) - x - 0.5 * w).abs() < 1e-6, "{isa}: sum");
            }
        }
    }
}

#[test]
fn halves_that_are_not_ordinary_numbers_are_widened_too() {
    let bits: Vec<u16> = (0..=0xFFFF).collect();
    let bytes: Vec<u8> = bits.iter().flat_map(|half| half.to_le_bytes()).collect();
    for (isa, kernels) in available() {
        for float in [FloatType::F16, FloatType::Bf16] {
            let data = MatrixData::Dense { float, values: placed(&bytes, 1) };
            let matrix = Matrix { n_out: 1, n_in: bits.len(), data };
            let mut row = vec![0.0; bits.len()];
            kernels.unpack_row(&Rows::new(&matrix), 0, &mut row);
            for (half, wide) in bits.iter().zip(&row) {
                let expected = match float {
                    FloatType::F16 => half::f16::from_bits(*half).to_f32(),
                    _ => half::bf16::from_bits(*half).to_f32(),
                };
                let same = expected.to_bits() == wide.to_bits() || (expected.is_nan() && wide.is_nan());
                assert!(same, "{isa}: {half:#06x} as {float:?} became {wide}, not {expected}");
            }
        }
    }
}

#[test]
fn narrow_rows_are_close_to_what_was_written_and_the_same_everywhere() {
    let mut random = Random(7);
    for width in [1, 5, 8, 16, 31, 32, 40, 64, 100, 128] {
        for precision in KvPrecision::ALL {
            let rows: Vec<Vec<f32>> = (0..3).map(|_| random.numbers(width)).collect();
            let size = precision.bytes_of(width);
            let mut bytes = vec![0; 3 * size];
            for (row, to) in rows.iter().zip(bytes.chunks_exact_mut(size)) {
                write_row(precision, row, to);
            }
            let narrow = NarrowRows { precision, width, bytes: &bytes };
            let mut first: Option<Vec<f32>> = None;
            for (isa, kernels) in available() {
                let mut wide = vec![9.0; 3 * width];
                kernels.widen_rows(&narrow, 2, &mut wide);
                assert_eq!(wide[2 * width..], vec![9.0; width], "{isa}: what was not asked for stays");
                for (row, wide) in rows.iter().zip(wide.chunks_exact(width)).take(2) {
                    for (group, wide) in row.chunks(KvPrecision::GROUP).zip(wide.chunks(KvPrecision::GROUP)) {
                        let largest = group.iter().fold(0.0_f32, |most, n| most.max(n.abs()));
                        for (number, wide) in group.iter().zip(wide) {
                            let bound = match precision {
                                KvPrecision::F32 => 0.0,
                                KvPrecision::F16 => number.abs() / 2048.0 + 1e-7,
                                KvPrecision::Bf16 => number.abs() / 256.0,
                                KvPrecision::Q8 => largest / 127.0 * 0.501,
                            };
                            assert!((number - wide).abs() <= bound, "{isa} {precision:?}: {number} {wide}");
                        }
                    }
                }
                // One rounding may differ where there is no fused product.
                let same = first.get_or_insert_with(|| wide.clone());
                for (one, other) in same.iter().zip(&wide) {
                    assert!((one - other).abs() <= one.abs() * 1e-5 + 1e-6, "{isa} {precision:?}");
                }
            }
        }
    }
}

#[test]
fn numbers_that_do_not_fit_become_the_largest_and_nonsense_stays_nonsense() {
    for (isa, kernels) in available() {
        for precision in KvPrecision::ALL {
            let read = |row: &[f32]| {
                let mut bytes = vec![0; precision.bytes_of(row.len())];
                write_row(precision, row, &mut bytes);
                let mut wide = vec![0.0; row.len()];
                kernels.widen_rows(&NarrowRows { precision, width: row.len(), bytes: &bytes }, 1, &mut wide);
                wide
            };
            assert!(read(&[1e30, -1e30, 0.0]).iter().all(|n| n.is_finite()), "{isa} {precision:?}");
            assert!(read(&[1.0, f32::NAN]).iter().any(|n| n.is_nan()), "{isa} {precision:?}");
            assert_eq!(read(&[0.0; 40]), vec![0.0; 40]);
        }
    }
}

#[test]
fn a_product_is_added_to_what_is_there() {
    let mut random = Random(7);
    let (n_in, n_out) = (5, 21);
    let matrix = dense(&mut random, FloatType::F32, n_out, n_in, 1);
    for n_rows in [1, 4] {
        let (x, before) = (random.numbers(n_rows * n_in), random.numbers(n_rows * n_out));
        for (isa, kernels) in available() {
            let product = multiply(&kernels, &matrix, None, &x, 0..n_out);
            let sum: Vec<f32> =
                before.iter().zip(&product).map(|(before, product)| before + product).collect();
            let mut y = before.clone();
            let rows = Rows::new(&matrix);
            // SAFETY: `y` has a number for every row and output, and nobody else has it.
            let panel = unsafe { Panel::new(rows, 0..n_out, Start::Output, &x, n_rows, y.as_mut_ptr()) };
            kernels.multiply(&panel);
            assert_eq!(y, sum, "{isa}, {n_rows} rows");
        }
    }
}
