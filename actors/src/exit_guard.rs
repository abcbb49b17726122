//! How a supervisor learns that an actor has ended, and why.
//!
//! actix tells nobody when an actor's task unwinds. But it drops the actor then, and with it this guard.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;
use tokio::sync::oneshot;

/// How a run of an actor ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It stopped by itself.
    Normal,
    /// It stopped itself because of an error.
    Error(String),
    /// It panicked.
    Panic(String),
    /// It did not answer its heartbeat.
    Stuck,
    /// It stopped itself because of an error that a restart of the actor would not mend.
    GiveUp(String),
}

impl Exit {
    /// The reason for logs and status; `None` for a normal end.
    pub(crate) fn reason(&self) -> Option<String> {
        match self {
            Self::Normal => None,
            Self::Error(reason) | Self::GiveUp(reason) => Some(reason.clone()),
            Self::Panic(note) => Some(format!("panicked: {note}")),
            Self::Stuck => Some("did not answer its heartbeat".into()),
        }
    }
}

/// Held by an actor for as long as it lives; reports its end when it is dropped.
#[derive(Debug)]
pub(crate) struct ExitGuard {
    report: Option<oneshot::Sender<Exit>>,
    reason: Exit,
}

/// A guard for a new actor and the place where its end will be reported.
pub(crate) fn exit_guard() -> (ExitGuard, oneshot::Receiver<Exit>) {
    let (report, reported) = oneshot::channel();
    (ExitGuard { report: Some(report), reason: Exit::Normal }, reported)
}

impl ExitGuard {
    /// Says that the stop which follows is an error that a restart may mend.
    #[cfg(test)]
    pub(crate) fn fail(&mut self, reason: impl Into<String>) {
        self.reason = Exit::Error(reason.into());
    }

    /// Says that the stop which follows is an error that only a new process may mend.
    pub(crate) fn give_up(&mut self, reason: impl Into<String>) {
        self.reason = Exit::GiveUp(reason.into());
    }
}

impl Drop for ExitGuard {
    fn drop(&mut self) {
        let exit = if std::thread::panicking() {
            Exit::Panic(take_panic_note())
        } else {
            std::mem::replace(&mut self.reason, Exit::Normal)
        };
        if let Some(report) = self.report.take() {
            // Nobody waits any more when the supervisor has abandoned a stuck actor.
            report.send(exit).ok();
        }
    }
}

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes every later panic leave its message and place for [`take_panic_note`]. The hook that was there before still
/// runs.
pub(crate) fn keep_panic_notes() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let message = info.payload_as_str().unwrap_or("(no message)");
            let note = match info.location() {
                Some(place) => format!("{message} ({}:{})", place.file(), place.line()),
                None => message.to_owned(),
            };
            // A panic while a thread ends, or inside this hook, finds no note to write to; it must not panic again.
            LAST_PANIC
                .try_with(|last| {
                    if let Ok(mut last) = last.try_borrow_mut() {
                        *last = Some(note);
                    }
                })
                .ok();
            previous(info);
        }));
    });
}

/// Message and place of the latest panic on this thread.
pub(crate) fn take_panic_note() -> String {
    let note = LAST_PANIC.try_with(|last| last.try_borrow_mut().ok().and_then(|mut last| last.take()));
    note.ok().flatten().unwrap_or_else(|| "(no message)".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_tells_how_it_was_dropped() {
        keep_panic_notes();
        let (guard, mut end) = exit_guard();
        drop(guard);
        assert_eq!(end.try_recv(), Ok(Exit::Normal));

        let (mut guard, mut end) = exit_guard();
        guard.fail("no disk");
        drop(guard);
        assert_eq!(end.try_recv(), Ok(Exit::Error("no disk".into())));

        let (guard, mut end) = exit_guard();
        let unwound = panic::catch_unwind(panic::AssertUnwindSafe(move || {
            let _guard = guard;
            panic!("boom {}", 7);
        }));
        assert!(unwound.is_err());
        let Ok(Exit::Panic(note)) = end.try_recv() else { panic!("not reported as a panic") };
        assert!(note.starts_with("boom 7 (") && note.contains("exit_guard.rs:"), "{note}");
    }
}
