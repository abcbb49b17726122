//! How a command ends.

/// The exit codes of the client commands; the numbers above 2 are those of `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Not done, and trying again will not help by itself.
    Failed = 1,
    /// The command line, or a value in it, is wrong.
    Usage = 2,
    /// No daemon can be reached.
    Unavailable = 69,
    /// Not now: the daemon is busy, loading or stopping. The same command may succeed later.
    TryAgain = 75,
    /// Ended by Ctrl-C, as a shell reports it.
    Interrupted = 130,
}

impl Exit {
    /// The number for the operating system.
    pub fn code(self) -> u8 {
        self as u8
    }
}
