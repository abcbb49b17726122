//! Where boca's files live when nobody says otherwise: the XDG directories, on macOS `~/Library`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The systems whose conventions differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Os {
    /// XDG base directories.
    Linux,
    /// `~/Library`.
    MacOs,
}

/// What the process was started with. Captured once, so that every rule about it can be tested.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    /// Environment variables whose names are valid text.
    pub vars: BTreeMap<String, OsString>,
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// The directory that relative flags and variables start from.
    pub working_dir: PathBuf,
    /// The system.
    pub os: Os,
}

impl Environment {
    /// The environment of this process.
    pub(crate) fn capture() -> Self {
        Self {
            vars: std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v))).collect(),
            home: std::env::home_dir().filter(|home| home.is_absolute()),
            working_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            os: if cfg!(target_os = "macos") { Os::MacOs } else { Os::Linux },
        }
    }

    /// A variable that is set and not empty.
    pub(crate) fn var(&self, name: &str) -> Option<&OsString> {
        self.vars.get(name).filter(|value| !value.is_empty())
    }

    /// A variable for `${NAME}`; one that is not valid text counts as unset.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.vars.get(name).and_then(|value| value.to_str()).map(str::to_owned)
    }

    /// An XDG directory. The standard says that a relative one is to be ignored.
    fn xdg(&self, name: &str, below_home: &str) -> Option<PathBuf> {
        let named = self.var(name).map(PathBuf::from).filter(|path| path.is_absolute());
        named.or_else(|| Some(self.home.as_ref()?.join(below_home)))
    }

    fn application_support(&self) -> Option<PathBuf> {
        Some(self.home.as_ref()?.join("Library/Application Support/boca"))
    }

    /// The directory for sessions and everything else that boca keeps.
    pub(crate) fn state_dir(&self) -> Option<PathBuf> {
        match self.os {
            Os::Linux => Some(self.xdg("XDG_STATE_HOME", ".local/state")?.join("boca")),
            Os::MacOs => self.application_support(),
        }
    }

    /// The socket when none is named. Without a runtime directory it lies in the state directory that is in use.
    pub(crate) fn socket(&self, state_dir: Option<&Path>) -> Option<PathBuf> {
        let runtime = self.var("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
        match (self.os, runtime) {
            (Os::Linux, Some(runtime)) => Some(runtime.join("boca/boca.sock")),
            _ => Some(state_dir?.join("boca.sock")),
        }
    }

    /// The config files that are looked for, in order; the first that exists is read.
    pub(crate) fn config_files(&self) -> Vec<PathBuf> {
        let own = match self.os {
            Os::Linux => self.xdg("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("boca")),
            Os::MacOs => self.application_support(),
        };
        own.into_iter().chain([PathBuf::from("/etc/boca")]).map(|dir| dir.join("boca.toml")).collect()
    }

    /// The directory whose subdirectories are taken for models.
    pub(crate) fn models_dir(&self) -> Option<PathBuf> {
        let data = match self.os {
            Os::Linux => self.xdg("XDG_DATA_HOME", ".local/share")?.join("boca"),
            Os::MacOs => self.application_support()?,
        };
        Some(data.join("models"))
    }

    /// An absolute path: `~/` is the home directory, anything relative starts at `base`.
    pub(crate) fn absolute(&self, path: &Path, base: &Path) -> PathBuf {
        match (path.strip_prefix("~"), &self.home) {
            (Ok(below), Some(home)) => home.join(below),
            _ => base.join(path),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn environment(os: Os, vars: &[(&str, &str)]) -> Environment {
        Environment {
            vars: vars.iter().map(|(k, v)| ((*k).to_owned(), OsString::from(v))).collect(),
            home: Some(PathBuf::from("/home/ada")),
            working_dir: PathBuf::from("/work dir"),
            os,
        }
    }

    #[test]
    fn xdg_directories_are_followed() {
        let bare = environment(Os::Linux, &[]);
        let state = bare.state_dir().unwrap();
        assert_eq!(state, Path::new("/home/ada/.local/state/boca"));
        assert_eq!(bare.socket(Some(&state)).unwrap(), state.join("boca.sock"));
        assert_eq!(
            bare.config_files(),
            [Path::new("/home/ada/.config/boca/boca.toml"), Path::new("/etc/boca/boca.toml")]
        );
        let set = environment(
            Os::Linux,
            &[("XDG_STATE_HOME", "/s"), ("XDG_RUNTIME_DIR", "/run/user/7"), ("XDG_DATA_HOME", "relative")],
        );
        assert_eq!(set.state_dir().unwrap(), Path::new("/s/boca"));
        assert_eq!(set.socket(None).unwrap(), Path::new("/run/user/7/boca/boca.sock"));
        assert_eq!(set.models_dir().unwrap(), Path::new("/home/ada/.local/share/boca/models"));
    }

    #[test]
    fn macos_keeps_everything_under_application_support() {
        let mac = environment(Os::MacOs, &[("XDG_RUNTIME_DIR", "/run/user/7"), ("XDG_STATE_HOME", "/s")]);
        let support = Path::new("/home/ada/Library/Application Support/boca");
        assert_eq!(mac.state_dir().unwrap(), support);
        assert_eq!(mac.socket(Some(support)).unwrap(), support.join("boca.sock"));
        assert_eq!(mac.config_files()[0], support.join("boca.toml"));
        assert_eq!(mac.models_dir().unwrap(), support.join("models"));
    }

    #[test]
    fn without_a_home_there_are_no_guesses() {
        let nobody = Environment { home: None, ..environment(Os::Linux, &[]) };
        assert_eq!(nobody.state_dir(), None);
        assert_eq!(nobody.socket(None), None);
        assert_eq!(nobody.config_files(), [Path::new("/etc/boca/boca.toml")]);
    }

    #[test]
    fn paths_become_absolute() {
        let e = environment(Os::Linux, &[]);
        assert_eq!(e.absolute(Path::new("~/m"), Path::new("/etc")), Path::new("/home/ada/m"));
        assert_eq!(e.absolute(Path::new("m"), Path::new("/etc")), Path::new("/etc/m"));
        assert_eq!(e.absolute(Path::new("/m"), Path::new("/etc")), Path::new("/m"));
    }
}
