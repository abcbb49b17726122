use super::*;
use crate::ModelSource;
use crate::checkpoint::CheckpointWeights;
use std::path::Path;

fn checkpoint(name: &str) -> CheckpointWeights {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    CheckpointWeights::open(&ModelSource::Directory(path)).unwrap()
}

fn cuts(of: &CheckpointWeights, size: usize) -> Result<Vec<Cut>, CutError> {
    (0..size).map(|rank| Cut::new(&of.config, &of.weights, Share { rank, size })).collect()
}

/// The bytes of a matrix, row after row: `[n_out]`, each of packed numbers, scales and biases.
fn rows(matrix: &Matrix) -> Vec<Vec<Vec<u8>>> {
    let parts = match &matrix.data {
        MatrixData::Dense { values, .. } => vec![values],
        MatrixData::Affine { packed, scales, biases, .. } => vec![packed, scales, biases],
    };
    let row = |n: usize| {
        let of = |part: &&TensorBytes| {
            let row_bytes = part.len() / matrix.n_out;
            part[n * row_bytes..(n + 1) * row_bytes].to_vec()
        };
        parts.iter().map(of).collect()
    };
    (0..matrix.n_out).map(row).collect()
}

fn stacked(parts: &[&Linear]) -> Vec<Vec<Vec<u8>>> {
    parts.iter().flat_map(|part| rows(&part.weight)).collect()
}

fn side_by_side(parts: &[&Linear]) -> Vec<Vec<Vec<u8>>> {
    let mut all = rows(&parts[0].weight);
    for part in &parts[1..] {
        for (row, more) in all.iter_mut().zip(rows(&part.weight)) {
            row.iter_mut().zip(more).for_each(|(bytes, more)| bytes.extend(more));
        }
    }
    all
}

#[test]
fn the_parts_are_the_whole() {
    for (name, n_hosts) in [
        ("../../assets/demo-model", 2),
        ("tests/data/plain-bf16", 2),
        ("tests/data/wide-5bit", 1),
        ("tests/data/sharded-4bit-qk-norm", 2),
        ("tests/data/separate-2bit", 2),
    ] {
        let whole = checkpoint(name);
        let cuts = cuts(&whole, n_hosts).unwrap();
        let mut bytes = 0;
        for cut in &cuts {
            let config = cut.config(&whole.config);
            assert_eq!(config.n_kv_heads, whole.config.n_kv_heads / n_hosts, "{name}");
            assert_eq!(config.n_heads, whole.config.n_heads / n_hosts, "{name}");
            bytes += cut.weights_bytes(&whole.weights, whole.weights_bytes);
        }
        assert!(bytes >= whole.weights_bytes && bytes <= whole.weights_bytes * n_hosts as u64, "{name}");
        for layer in &whole.weights.layers {
            let parts: Vec<LayerWeights> = cuts.iter().map(|cut| cut.layer(layer)).collect();
            let attention = |of: fn(&AttentionWeights) -> &Linear| {
                (
                    rows(&of(&layer.self_attn).weight),
                    parts.iter().map(|part| of(&part.self_attn)).collect::<Vec<_>>(),
                )
            };
            let (q, q_parts) = attention(|attention| &attention.q_proj);
            assert_eq!(q, stacked(&q_parts), "{name}");
            let (v, v_parts) = attention(|attention| &attention.v_proj);
            assert_eq!(v, stacked(&v_parts), "{name}");
            let (o, o_parts) = attention(|attention| &attention.o_proj);
            assert_eq!(o, side_by_side(&o_parts), "{name}");
            let bias: Vec<f32> = v_parts
                .iter()
                .flat_map(|part| part.bias.iter().flat_map(|bias| bias.values.clone()))
                .collect();
            assert_eq!(
                bias,
                layer.self_attn.v_proj.bias.as_ref().map_or(Vec::new(), |bias| bias.values.clone())
            );
            if let MlpWeights::Moe(moe) = &layer.mlp {
                let of = |part: &LayerWeights| match &part.mlp {
                    MlpWeights::Moe(moe) => moe.experts[3].clone(),
                    MlpWeights::Dense(_) => panic!("it was a mixture"),
                };
                let experts: Vec<GatedMlp> = parts.iter().map(of).collect();
                let ups: Vec<&Linear> = experts.iter().map(|expert| &expert.up_proj).collect();
                let downs: Vec<&Linear> = experts.iter().map(|expert| &expert.down_proj).collect();
                assert_eq!(rows(&moe.experts[3].up_proj.weight), stacked(&ups), "{name}");
                assert_eq!(rows(&moe.experts[3].down_proj.weight), side_by_side(&downs), "{name}");
            }
        }
    }
}

#[test]
fn what_cannot_be_cut_is_said_with_field_bound_and_value() {
    let three = cuts(&checkpoint("../../assets/demo-model"), 3).unwrap_err().to_string();
    assert_eq!(three, "`num_key_value_heads` must be at least 3 to be shared by 3 hosts, got 2");
    let air = checkpoint("tests/data/air-4bit");
    let heads = cuts(&air, 2).unwrap_err().to_string();
    assert_eq!(
        heads,
        "`num_key_value_heads` must be at least 4 to be shared by 2 hosts, got 2, since 64 weights share a scale"
    );
    let MlpWeights::Moe(moe) = &air.weights.layers[1].mlp else { panic!("it is a mixture") };
    let share = Share { rank: 0, size: 2 };
    let experts = share.check_mlp("moe_intermediate_size", moe.experts.iter()).unwrap_err().to_string();
    assert_eq!(
        experts,
        "`moe_intermediate_size` must be at least 128 to be shared by 2 hosts, got 64, since 64 weights share a scale"
    );
}

#[test]
fn parts_need_not_be_equal() {
    let parts = |size| (0..size).map(|rank| Share { rank, size }.of_units(10_944, 64)).collect::<Vec<_>>();
    assert_eq!(parts(2), [0..86 * 64, 86 * 64..10_944]);
    assert_eq!(parts(4).last(), Some(&(129 * 64..10_944)));
    assert_eq!(parts(1).as_slice(), std::slice::from_ref(&(0..10_944)));
    let heads: Vec<_> = (0..3).map(|rank| Share { rank, size: 3 }.of(8)).collect();
    assert_eq!(heads, [0..3, 3..6, 6..8]);
}
