//! The next step is launched before the tokens of the last one are read, where the device draws them itself: it never
//! waits for the host.
//!
//! Whoever turns out to have ended with the last token was part of one step too many; its sequence is cut back.

use super::answer::Answer;
use super::engine::Engine;
use super::stepping::{Given, Share};
use crate::backend::{BackendError, SequenceId, Ticket};
use crate::drawing::DrawChunk;
use crate::generator::ReportSink;
use std::time::Instant;

/// A step whose tokens nobody has read.
#[derive(Debug)]
pub(super) struct InFlight {
    ticket: Ticket,
    began: Instant,
    /// Whose they are: places change while it is under way.
    shares: Vec<(SequenceId, Share)>,
}

impl InFlight {
    fn draws(&self) -> bool {
        self.shares.iter().any(|(_, share)| share.row.is_some())
    }
}

impl Engine {
    /// Whether the device can draw the next token of everyone.
    pub(super) fn can_step_ahead(&mut self) -> bool {
        self.running.iter().all(Answer::is_plain) && self.backend.drawing().is_some()
    }

    /// Launches a step, and reads the one before it.
    pub(super) fn step_ahead(&mut self, report: ReportSink<'_>) {
        let mut before = self.in_flight.take();
        // One inside prompts is waited for by its keys and values, which the next one would change.
        if let Some(unread) = before.take_if(|before| !before.draws()) {
            self.land(unread, report);
        }
        if self.can_step_ahead() {
            self.in_flight = self.launch_ahead(report);
        }
        if let Some(unread) = before {
            self.land(unread, report);
            if let Some(next) = &mut self.in_flight {
                next.began = Instant::now();
            }
        }
        let is_running = |sequence| self.running.iter().any(|answer| answer.sequence == sequence);
        if self.in_flight.as_ref().is_some_and(|next| !next.shares.iter().any(|(id, _)| is_running(*id))) {
            self.forget_flight();
        }
    }

    /// Nobody wants the tokens of the step under way.
    pub(super) fn forget_flight(&mut self) {
        if let Some(unwanted) = self.in_flight.take()
            && let Some(drawing) = self.backend.drawing()
        {
            drawing.forget(unwanted.ticket);
        }
    }

    fn launch_ahead(&mut self, report: ReportSink<'_>) -> Option<InFlight> {
        let shares = self.shares();
        if shares.is_empty() {
            return None;
        }
        self.make_room_for(&shares);
        let began = Instant::now();
        match self.launch_drawing(&shares) {
            Ok(ticket) => {
                let shares = shares.into_iter().map(|share| {
                    let answer = &mut self.running[share.place];
                    answer.launched(share.n_prompt);
                    (answer.sequence, share)
                });
                Some(InFlight { ticket, began, shares: shares.collect() })
            }
            Err(error) => {
                let ends = self.ends_of(error, &shares);
                self.end_all(ends, report);
                None
            }
        }
    }

    fn launch_drawing(&mut self, shares: &[Share]) -> Result<Ticket, BackendError> {
        let chunk = |share: &Share| {
            let answer = &self.running[share.place];
            let draw = share.row.is_some().then(|| answer.draw());
            DrawChunk { sequence: answer.sequence, feed: answer.feed(share.n_prompt), draw }
        };
        let chunks: Vec<DrawChunk<'_>> = shares.iter().map(chunk).collect();
        let drawing = self.backend.drawing().expect("whoever steps ahead has asked for it");
        drawing.launch_drawing(&chunks)
    }

    /// Reads the tokens of a step, for those who are still there.
    fn land(&mut self, step: InFlight, report: ReportSink<'_>) {
        let drawing = self.backend.drawing().expect("it has launched the step");
        let drawn = drawing.collect_drawn(step.ticket);
        let shares: Vec<Share> = step
            .shares
            .into_iter()
            .filter_map(|(sequence, share)| {
                let place = self.running.iter().position(|answer| answer.sequence == sequence)?;
                Some(Share { place, ..share })
            })
            .collect();
        let ends = match drawn {
            Ok(drawn) => self.hand_out(&shares, Given::Drawn(&drawn), step.began, report),
            Err(error) => self.ends_of(error, &shares),
        };
        self.end_all(ends, report);
    }
}
