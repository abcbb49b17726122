use super::*;
use proptest::prelude::*;

const IDLE: Duration = Duration::from_secs(60);

fn look(second: u64, n_requests: usize, level: MemoryLevel) -> Look {
    Look { now: Duration::from_secs(second), n_requests, is_loaded: true, level }
}

#[test]
fn an_idle_model_goes_and_the_next_request_brings_it_back() {
    let mut model = Residency::new(Some(IDLE));
    assert_eq!(model.look(look(0, 1, MemoryLevel::Normal)), Residence::Stay);
    assert_eq!(model.look(look(59, 0, MemoryLevel::Normal)), Residence::Stay);
    assert_eq!(model.look(look(60, 0, MemoryLevel::Normal)), Residence::Unload(Unloaded::Idle));
    assert_eq!((model.admission(), model.away()), (Admission::Open, Some(Unloaded::Idle)));
    let gone = Look { is_loaded: false, ..look(500, 0, MemoryLevel::Normal) };
    assert_eq!(model.look(gone), Residence::Stay);
    assert_eq!(model.asked(Duration::from_secs(501)), Residence::Load);
    assert_eq!(model.asked(Duration::from_secs(501)), Residence::Stay, "once");
    // A long load is no idle time.
    assert_eq!(model.look(Look { now: Duration::from_secs(900), ..gone }), Residence::Stay);
    assert_eq!(model.look(look(901, 0, MemoryLevel::Normal)), Residence::Stay);
    assert_eq!(model.look(look(960, 0, MemoryLevel::Normal)), Residence::Unload(Unloaded::Idle));
}

#[test]
fn without_keep_alive_nothing_goes_however_long_nobody_asks() {
    let mut model = Residency::new(None);
    assert_eq!(model.look(look(1 << 30, 0, MemoryLevel::Normal)), Residence::Stay);
}

#[test]
fn short_memory_closes_the_door_and_then_unloads_when_nothing_runs() {
    let mut model = Residency::new(None);
    model.look(look(1, 2, MemoryLevel::Soft));
    assert_eq!(model.admission(), Admission::Short);
    assert_eq!(model.look(look(2, 2, MemoryLevel::Hard)), Residence::Stay, "what runs may finish");
    assert_eq!(model.admission(), Admission::Away(Unloaded::Memory));
    assert_eq!(model.look(look(3, 0, MemoryLevel::Hard)), Residence::Unload(Unloaded::Memory));
    let gone = |second, level| Look { is_loaded: false, ..look(second, 0, level) };
    assert_eq!(model.look(gone(4, MemoryLevel::Soft)), Residence::Stay, "not yet");
    assert_eq!(model.asked(Duration::from_secs(5)), Residence::Stay, "a request changes nothing");
    assert_eq!(model.look(gone(6, MemoryLevel::Normal)), Residence::Load);
    assert_eq!(model.admission(), Admission::Open);
}

#[test]
fn a_shortage_that_ends_before_the_last_request_unloads_nothing() {
    let mut model = Residency::new(None);
    model.look(look(1, 1, MemoryLevel::Hard));
    assert_eq!(model.look(look(2, 1, MemoryLevel::Soft)), Residence::Stay);
    assert_eq!(model.look(look(3, 0, MemoryLevel::Soft)), Residence::Stay);
    assert_eq!(model.admission(), Admission::Short);
    model.look(look(4, 0, MemoryLevel::Normal));
    assert_eq!(model.admission(), Admission::Open);
}

#[test]
fn what_was_unloaded_by_hand_is_loaded_by_hand() {
    let mut model = Residency::new(Some(IDLE));
    model.unload();
    assert_eq!(model.admission(), Admission::Away(Unloaded::ByHand));
    assert_eq!(model.look(look(1, 1, MemoryLevel::Normal)), Residence::Stay);
    assert_eq!(model.look(look(2, 0, MemoryLevel::Normal)), Residence::Unload(Unloaded::ByHand));
    assert_eq!(model.asked(Duration::from_secs(3)), Residence::Stay);
    let gone = Look { is_loaded: false, ..look(99, 0, MemoryLevel::Normal) };
    assert_eq!(model.look(gone), Residence::Stay);
    assert_eq!(model.load(Duration::from_secs(100)), Residence::Load);
    assert_eq!(model.load(Duration::from_secs(100)), Residence::Stay, "it is on its way");
    model.unload();
    assert_eq!(model.load(Duration::from_secs(101)), Residence::Stay, "taken back in time");
    assert_eq!(model.admission(), Admission::Open);
}

proptest! {
    /// Nothing is unloaded while requests run, and nothing is loaded twice.
    #[test]
    fn weights_go_only_when_nothing_runs_and_come_only_when_they_are_gone(
        keep_alive in prop::option::of(1u64..30),
        events in prop::collection::vec((0u8..8, 0usize..3, 0u64..20, 0u8..3), 1..120),
    ) {
        let mut model = Residency::new(keep_alive.map(Duration::from_secs));
        let (mut is_there, mut now) = (true, 0);
        for (kind, n_requests, seconds, level) in events {
            now += seconds;
            let at = Duration::from_secs(now);
            let level = [MemoryLevel::Normal, MemoryLevel::Soft, MemoryLevel::Hard][usize::from(level)];
            let n_requests = if is_there { n_requests } else { 0 };
            let residence = match kind {
                0 => model.asked(at),
                1 => model.load(at),
                2 => { model.unload(); Residence::Stay }
                _ => model.look(Look { is_loaded: is_there, ..look(now, n_requests, level) }),
            };
            match residence {
                Residence::Stay => {}
                Residence::Unload(_) => {
                    prop_assert!(is_there && n_requests == 0);
                    is_there = false;
                }
                Residence::Load => {
                    prop_assert!(!is_there);
                    is_there = true;
                }
            }
            prop_assert_eq!(model.away().is_none(), is_there);
            if let Admission::Open | Admission::Short = model.admission() {
                prop_assert!(is_there || model.away() == Some(Unloaded::Idle));
            }
        }
        // Whatever happened, a person can have the model.
        let residence = model.load(Duration::from_secs(now));
        prop_assert_eq!(residence == Residence::Load, !is_there);
        model.look(look(now, 0, MemoryLevel::Normal));
        prop_assert_eq!(model.admission(), Admission::Open);
    }
}
