//! `boca bench`: hands benchmarks of a running daemon to the client, and makes the checkpoints that others run on.

use super::{CommonArgs, client, output};
use crate::demo_model::DEMO_MODEL;
use crate::exit::Exit;
use boca_cli::{BenchCommand, ClientCommand};
use boca_engine::synthetic::{SyntheticCheckpoint, SyntheticError, SyntheticShape};
use clap::Args;
use std::path::{Path, PathBuf};

/// Layers of a tiny checkpoint when nobody names a number.
const TINY_LAYERS: usize = 4;
/// The template of the demo model, which is written for the special tokens of GLM-4.5.
const TEMPLATE: &str = "chat_template.jinja";

/// `boca bench …`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub(crate) struct BenchArgs {
    /// Write a checkpoint of random weights with the dimensions of GLM-4.5-Air into a new directory; 4 layers are
    /// about 4.8 GB
    #[arg(long, value_name = "DIR", required = true)]
    make_checkpoint: Option<PathBuf>,
    /// How many of the model's layers it gets: the first is dense, the others are mixtures of 128 experts
    #[arg(long, value_name = "N", requires = "make_checkpoint", required_unless_present = "tiny")]
    layers: Option<usize>,
    /// Make it of the same architecture and less than 2 MB, for tests
    #[arg(long, requires = "make_checkpoint")]
    tiny: bool,
    /// The same seed makes the same bytes
    #[arg(long, value_name = "N", default_value_t = 0, requires = "make_checkpoint")]
    seed: u64,
    #[command(subcommand)]
    command: Option<BenchCommand>,
}

/// Runs `boca bench …`.
pub(crate) fn bench(common: &CommonArgs, args: BenchArgs) -> Exit {
    match (args.command, args.make_checkpoint) {
        (Some(command), _) => client(common, ClientCommand::Bench(command)),
        (None, Some(directory)) => {
            let made = shape(args.layers, args.tiny).and_then(|shape| make(&directory, shape, args.seed));
            made.unwrap_or_else(|error| {
                output::error(&error);
                if matches!(error, SyntheticError::Layers { .. }) { Exit::Usage } else { Exit::Failed }
            })
        }
        (None, None) => {
            output::error("name a benchmark, or `--make-checkpoint DIR`");
            Exit::Usage
        }
    }
}

fn shape(layers: Option<usize>, is_tiny: bool) -> Result<SyntheticShape, SyntheticError> {
    let layers = layers.unwrap_or(TINY_LAYERS);
    if is_tiny { SyntheticShape::tiny(layers) } else { SyntheticShape::glm_4_5_air(layers) }
}

fn make(directory: &Path, shape: SyntheticShape, seed: u64) -> Result<Exit, SyntheticError> {
    let template = DEMO_MODEL.files.iter().find(|file| file.name == TEMPLATE).map(|file| file.bytes);
    let chat_template = String::from_utf8_lossy(template.unwrap_or_default()).into_owned();
    let checkpoint = SyntheticCheckpoint { shape, seed, chat_template };
    let written = checkpoint.write(directory, &output::progress_line("writing"))?;
    let size = output::gigabytes(written.tensor_bytes);
    Ok(output::print(&format!("{}: {size} of weights in {} files\n", directory.display(), written.n_shards)))
}
