//! `boca serve`: the daemon in the foreground, as service managers want it.

use super::{CommonArgs, load_config, output};
use crate::config::{Environment, Reloader, SharedSettings, choose_model, providers_with_keys};
use crate::demo_model::DEMO_MODEL;
use crate::exit::Exit;
use crate::signals::{self, Reactions, ShutdownTrigger};
use crate::telemetry::{self, Telemetry};
use crate::{daemon, service_manager};
use clap::Args;
use std::path::PathBuf;

/// `boca serve`
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The directory of a GLM-4 MoE checkpoint in MLX form [env: GLM_MODEL_PATH] [default: the demo model]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// The directory of a LoRA adapter for that model, in mlx-lm's layout [default: none]
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Share the model with these hosts, of which this one is the first; each other one runs `boca follow` (MLX only)
    #[arg(long, value_name = "IP:PORT,IP:PORT", value_delimiter = ',')]
    hosts: Option<Vec<String>>,
    /// What to log: error, warn, info, debug, trace, or directives such as info,boca=debug [env: BOCA_LOG]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// Runs the daemon until it is asked to stop. `end_now` ends the process when it is asked a second time.
pub(crate) fn serve(common: &CommonArgs, args: ServeArgs, end_now: fn()) -> Exit {
    // Conversations are their owner's alone, whatever the shell thought.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let environment = Environment::capture();
    let mut flags = common.flags();
    flags.model = args.model;
    flags.adapter = args.adapter;
    flags.hosts = args.hosts;
    flags.log_level = args.log_level;
    let loaded = match load_config(&flags, &environment) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let providers = match providers_with_keys(&loaded.settings, &environment) {
        Ok(providers) => providers,
        Err(error) => return super::tell_config_error(&error),
    };
    let telemetry = telemetry::start(&loaded.settings.log);
    let model = choose_model(&loaded.settings, &environment, DEMO_MODEL);
    let (reloader, settings) = Reloader::new(flags, environment, loaded);
    let (trigger, shutdown) = ShutdownTrigger::new();
    let reload = reaction_to_sighup(reloader, telemetry, settings.clone());
    let reactions = Reactions { shutdown: trigger, reload, end_now };
    if let Err(error) = signals::listen(reactions) {
        output::error(format_args!("cannot listen for signals: {error}"));
        return Exit::Failed;
    }
    let system = actix_rt::System::new();
    system.block_on(async {
        tokio::select! {
            exit = daemon::run(settings, model, providers, shutdown) => exit,
            never = service_manager::feed_watchdog() => match never {},
        }
    })
}

/// Reads the configuration again and says what holds now and what waits for a restart.
fn reaction_to_sighup(
    mut reloader: Reloader,
    telemetry: Telemetry,
    settings: SharedSettings,
) -> Box<dyn FnMut() + Send> {
    Box::new(move || {
        service_manager::reloading();
        match reloader.reload() {
            Ok(change) => {
                telemetry.set_level(&settings.current().log.level);
                let (live, waiting) = (change.live.join(", "), change.needs_restart.join(", "));
                tracing::info!(changed = %live, "the configuration was read again");
                if !change.needs_restart.is_empty() {
                    tracing::warn!(keys = %waiting, "these keys take effect when the daemon starts next");
                }
            }
            Err(error) => {
                tracing::error!(%error, "the configuration was not taken over; the old one stays in force");
            }
        }
        service_manager::ready();
    })
}
