//! The next step is launched before the tokens of the last one are read, where the device draws them itself: it never
//! waits for the host.
//!
//! Whoever turns out to have ended with the last token was part of one step too many; its sequence is cut back.

use super::answer::Answer;
use super::engine::Engine;
use super::stepping::{Given, Share, StepFacts};
use crate::backend::{BackendError, SequenceId, Ticket};
use crate::drawing::DrawChunk;
use crate::generator::ReportSink;
use std::collections::VecDeque;
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
        self.forget_unwanted();
        // One inside prompts is waited for by its keys and values, which the next one would change.
        if self.in_flight.front().is_some_and(|before| !before.draws()) {
            self.land(report);
        }
        let is_under_way = !self.in_flight.is_empty();
        if self.can_step_ahead() {
            self.launch_ahead(report);
        }
        if is_under_way {
            self.land(report);
        }
        self.forget_unwanted();
    }

    /// Forgets steps whose tokens nobody is there for.
    fn forget_unwanted(&mut self) {
        let running = &self.running;
        let is_running = |sequence| running.iter().any(|answer| answer.sequence == sequence);
        let is_wanted = |step: &InFlight| step.shares.iter().any(|(sequence, _)| is_running(*sequence));
        let (wanted, unwanted): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.in_flight).into_iter().partition(is_wanted);
        self.in_flight = wanted;
        self.forget(unwanted);
    }

    /// Nobody wants the tokens of the steps under way.
    pub(super) fn forget_flights(&mut self) {
        let unwanted = std::mem::take(&mut self.in_flight);
        self.forget(unwanted);
    }

    fn forget(&mut self, steps: impl IntoIterator<Item = InFlight>) {
        if let Some(drawing) = self.backend.drawing() {
            steps.into_iter().for_each(|step| drawing.forget(step.ticket));
        }
    }

    fn launch_ahead(&mut self, report: ReportSink<'_>) {
        let shares = self.shares();
        if shares.is_empty() {
            return;
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
                let shares = shares.collect();
                self.in_flight.push_back(InFlight { ticket, began, shares });
            }
            Err(error) => {
                let ends = self.ends_of(error, &shares);
                self.end_all(ends, report);
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

    /// Reads the tokens of the step that was launched first, for those who are still there.
    fn land(&mut self, report: ReportSink<'_>) {
        let Some(InFlight { ticket, began, shares: all }) = self.in_flight.pop_front() else { return };
        let drawing = self.backend.drawing().expect("it has launched the step");
        let drawn = drawing.collect_drawn(ticket);
        let landed = Instant::now();
        // The device has begun the next one now, and not when it was launched.
        if let Some(next) = self.in_flight.front_mut() {
            next.began = landed;
        }
        let still_there = |(sequence, share): &(SequenceId, Share)| {
            let place = self.running.iter().position(|answer| answer.sequence == *sequence)?;
            Some(Share { place, ..*share })
        };
        let shares: Vec<Share> = all.iter().filter_map(still_there).collect();
        let ends = match drawn {
            Ok(drawn) => {
                let step = StepFacts::of(all.iter().map(|(_, share)| share), landed - began);
                self.count(step);
                self.hand_out(&shares, Given::Drawn(&drawn), step, report)
            }
            // The step is gone, and with it a token of everybody.
            Err(error) => shares.iter().map(|share| (share.place, Err(error.clone().into()))).collect(),
        };
        self.end_all(ends, report);
    }
}
