//! What a provider needs from the machine that the daemon runs on.

use serde::{Deserialize, Serialize};

/// What must hold for a provider to be asked. What is `None` need not hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirements {
    /// The operating system, `linux` or `macos`, or with its processor, `macos-aarch64`.
    pub system: Option<String>,
    /// Memory that the machine must have.
    pub memory_bytes: Option<u64>,
    /// What must compute the engine of this daemon: the beginning of its backend's name, `mlx` or `cpu`.
    pub backend: Option<String>,
}

/// The machine, as far as requirements ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// `linux`, `macos`.
    pub system: String,
    /// `x86_64`, `aarch64`.
    pub processor: String,
    /// Memory in all; `None` where nobody knows.
    pub memory_bytes: Option<u64>,
    /// What computes the engine; `None` until the model is loaded.
    pub backend: Option<String>,
}

impl Requirements {
    /// What does not hold, in one sentence; `None` when all does.
    pub fn unmet(&self, here: &Surroundings) -> Option<String> {
        self.unmet_system(here).or_else(|| self.unmet_memory(here)).or_else(|| self.unmet_backend(here))
    }

    fn unmet_system(&self, here: &Surroundings) -> Option<String> {
        let wanted = self.system.as_ref()?;
        let with_processor = format!("{}-{}", here.system, here.processor);
        let holds = wanted.eq_ignore_ascii_case(&here.system) || wanted.eq_ignore_ascii_case(&with_processor);
        (!holds).then(|| format!("it requires the system {wanted}, this is {with_processor}"))
    }

    fn unmet_memory(&self, here: &Surroundings) -> Option<String> {
        let wanted = self.memory_bytes?;
        match here.memory_bytes {
            Some(there) if there >= wanted => None,
            Some(there) => {
                Some(format!("it requires {} of memory, this machine has {}", gib(wanted), gib(there)))
            }
            None => Some(format!(
                "it requires {} of memory, and this machine does not say how much it has",
                gib(wanted)
            )),
        }
    }

    fn unmet_backend(&self, here: &Surroundings) -> Option<String> {
        let wanted = self.backend.as_ref()?;
        match &here.backend {
            Some(there) if there.to_lowercase().starts_with(&wanted.to_lowercase()) => None,
            Some(there) => Some(format!("it requires the backend {wanted}, the engine runs on {there}")),
            None => Some(format!("it requires the backend {wanted}, and no engine runs yet")),
        }
    }
}

fn gib(bytes: u64) -> String {
    // Exact enough for a message.
    format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Surroundings {
        Surroundings {
            system: "macos".into(),
            processor: "aarch64".into(),
            memory_bytes: Some(96 << 30),
            backend: Some("MLX (metal)".into()),
        }
    }

    #[test]
    fn what_holds_is_not_mentioned() {
        assert_eq!(Requirements::default().unmet(&here()), None);
        for system in ["macos", "macos-aarch64"] {
            let wanted = Requirements {
                system: Some(system.into()),
                memory_bytes: Some(96 << 30),
                backend: Some("mlx".into()),
            };
            assert_eq!(wanted.unmet(&here()), None);
        }
    }

    #[test]
    fn what_does_not_hold_is_named_with_both_sides() {
        let reason = |wanted: Requirements, here: &Surroundings| wanted.unmet(here).unwrap();
        let system = Requirements { system: Some("linux".into()), ..Default::default() };
        assert_eq!(reason(system, &here()), "it requires the system linux, this is macos-aarch64");
        let memory = Requirements { memory_bytes: Some(128 << 30), ..Default::default() };
        assert_eq!(
            reason(memory.clone(), &here()),
            "it requires 128.0 GiB of memory, this machine has 96.0 GiB"
        );
        let silent = Surroundings { memory_bytes: None, backend: None, ..here() };
        assert!(reason(memory, &silent).ends_with("does not say how much it has"));
        let backend = Requirements { backend: Some("cpu".into()), ..Default::default() };
        assert_eq!(
            reason(backend.clone(), &here()),
            "it requires the backend cpu, the engine runs on MLX (metal)"
        );
        assert!(reason(backend, &silent).ends_with("no engine runs yet"));
    }
}
