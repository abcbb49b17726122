//! Both ends over loopback, with backends that only write down what they are asked.

use super::follow::Following;
use super::links::Links;
use super::wire::{FromFollower, send};
use super::*;
use crate::backend::{Backend, BackendError, Chunk, Logits, LogitsOf, SequenceId, Ticket};
use crate::drawing::{Draw, DrawChunk, Drawing, Feed};
use boca_core::KvPrecision;
use std::collections::HashMap;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

type Diary = Arc<Mutex<Vec<String>>>;

/// Names its sequences from `next` on, so that no host's names fit the other's.
struct Scribe {
    diary: Diary,
    next: u64,
    held: HashMap<SequenceId, (u64, usize)>,
}

impl Scribe {
    fn new(first: u64) -> (Self, Diary) {
        let diary = Diary::default();
        (Self { diary: Arc::clone(&diary), next: first, held: HashMap::new() }, diary)
    }

    fn write(&self, line: String) {
        self.diary.lock().unwrap().push(line);
    }

    fn add(&mut self, n_tokens: usize) -> SequenceId {
        let nth = self.held.len() as u64;
        self.next += 1;
        self.held.insert(SequenceId(self.next), (nth, n_tokens));
        SequenceId(self.next)
    }

    fn nth(&self, id: SequenceId) -> Result<u64, BackendError> {
        let closed = || BackendError::bad_sequence(id, "it is not open".into());
        self.held.get(&id).map(|(nth, _)| *nth).ok_or_else(closed)
    }
}

impl Backend for Scribe {
    fn describe(&self) -> String {
        "scribe".into()
    }

    fn open(&mut self, max_tokens: usize) -> Result<SequenceId, BackendError> {
        self.write(format!("open {max_tokens}"));
        Ok(self.add(0))
    }

    fn fork(&mut self, parent: SequenceId, n: usize, max: usize) -> Result<SequenceId, BackendError> {
        let nth = self.nth(parent)?;
        self.write(format!("fork {nth} {n} {max}"));
        Ok(self.add(n))
    }

    fn len(&self, sequence: SequenceId) -> Option<usize> {
        self.held.get(&sequence).map(|(_, n)| *n)
    }

    fn close(&mut self, sequence: SequenceId) {
        let nth = self.nth(sequence);
        self.write(format!("close {}", nth.unwrap()));
    }

    fn launch(&mut self, chunks: &[Chunk<'_>]) -> Result<Ticket, BackendError> {
        let told: Result<Vec<_>, _> =
            chunks.iter().map(|chunk| Ok((self.nth(chunk.sequence)?, chunk.tokens, chunk.logits))).collect();
        self.write(format!("launch {:?}", told?));
        self.next += 1;
        Ok(Ticket(self.next))
    }

    fn collect(&mut self, _: Ticket, _: &mut Logits) -> Result<(), BackendError> {
        self.write("collect".into());
        Ok(())
    }

    fn kv_bytes_per_token(&self) -> u64 {
        1
    }

    fn kv_bytes(&self) -> u64 {
        0
    }
}

impl Drawing for Scribe {
    fn forbid(&mut self, ids: &[u32]) -> Result<(), BackendError> {
        self.write(format!("forbid {ids:?}"));
        Ok(())
    }

    fn launch_drawing(&mut self, chunks: &[DrawChunk<'_>]) -> Result<Ticket, BackendError> {
        let told: Result<Vec<_>, _> =
            chunks.iter().map(|chunk| Ok((self.nth(chunk.sequence)?, chunk.feed, chunk.draw))).collect();
        self.write(format!("draw {:?}", told?));
        self.next += 1;
        Ok(Ticket(self.next))
    }

    fn collect_drawn(&mut self, _: Ticket) -> Result<Vec<Option<u32>>, BackendError> {
        self.write("collect drawn".into());
        Ok(vec![Some(1)])
    }

    fn forget(&mut self, _: Ticket) {
        self.write("forget".into());
    }

    fn cut(&mut self, sequence: SequenceId, n_tokens: usize) {
        let nth = self.nth(sequence).unwrap();
        self.write(format!("cut {nth} {n_tokens}"));
    }
}

/// Hosts at ports that nobody has now.
fn hosts(n: usize) -> Hosts {
    let listeners: Vec<TcpListener> = (0..n).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<String> =
        listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    Hosts::new(&addresses).unwrap()
}

fn gather(hosts: &Hosts, patience: Duration) -> Result<Links, GatherError> {
    let offer = Offer::new(7, hosts);
    Links::gather(hosts, &offer, (KvPrecision::F32, true), patience, &mut || {})
}

fn join(hosts: &Hosts, rank: usize, checkpoint: u64) -> Result<Following, FollowError> {
    Following::join(hosts, rank, &Offer::new(checkpoint, hosts), &mut |_| {})
}

/// A follower on a thread of its own; how it ended, and what it was asked.
fn follower(hosts: &Hosts, rank: usize) -> std::thread::JoinHandle<(Result<(), FollowError>, Vec<String>)> {
    let hosts = hosts.clone();
    std::thread::spawn(move || {
        let following = join(&hosts, rank, 7).unwrap();
        assert_eq!((following.kv_precision, following.widen), (KvPrecision::F32, true));
        let heard = following.listen(Box::new(|_| {})).unwrap();
        let (scribe, diary) = Scribe::new(500 * rank as u64);
        let end = following.run(scribe, 1000 - rank as u64, &heard);
        let told = diary.lock().unwrap().clone();
        (end, told)
    })
}

#[test]
fn every_host_is_asked_for_the_same_in_the_same_order() {
    let hosts = hosts(3);
    let followers = [follower(&hosts, 1), follower(&hosts, 2)];
    let links = gather(&hosts, Duration::from_secs(20)).unwrap();
    assert_eq!(links.wait_until_ready(&mut || {}).unwrap(), 998, "what the smallest has room for");
    let (scribe, diary) = Scribe::new(0);
    let mut lead = LeadBackend::new(scribe, links);
    let mut logits = Logits::default();
    lead.forbid(&[3, 4]).unwrap();
    let one = lead.open(90).unwrap();
    let other = lead.fork(one, 0, 80).unwrap();
    let chunks = [
        Chunk { sequence: one, tokens: &[1, 2], logits: LogitsOf::All },
        Chunk { sequence: other, tokens: &[5], logits: LogitsOf::None },
    ];
    let step = lead.launch(&chunks).unwrap();
    lead.collect(step, &mut logits).unwrap();
    let draw = Draw { temperature: 0.3, top_k: 5, top_p: 0.99, min_p: 0.1, unit: 0.1 + 0.2 };
    let first = DrawChunk { sequence: one, feed: Feed::Tokens(&[9]), draw: Some(draw) };
    let first = lead.launch_drawing(&[first]).unwrap();
    let next = lead.launch_drawing(&[DrawChunk { sequence: one, feed: Feed::Drawn, draw: None }]).unwrap();
    assert_eq!(lead.collect_drawn(first).unwrap(), [Some(1)]);
    lead.forget(next);
    // Refused by all before anything is computed.
    let nobody = Chunk { sequence: SequenceId(77), tokens: &[1], logits: LogitsOf::Last };
    assert!(matches!(lead.launch(&[nobody]), Err(BackendError::BadSequence { .. })));
    assert!(matches!(lead.collect(Ticket(99), &mut logits), Err(BackendError::Device { .. })));
    lead.cut(one, 1);
    lead.close(other);
    assert!(lead.doubt().unwrap()().is_none());
    drop(lead);
    let told = diary.lock().unwrap().clone();
    assert_eq!(told.len(), 11, "{told:?}");
    for follower in followers {
        let (end, told_there) = follower.join().unwrap();
        end.unwrap();
        assert_eq!(told_there, told);
    }
}

#[test]
fn who_does_not_fit_is_sent_away_and_says_why() {
    let hosts = hosts(2);
    let there = hosts.clone();
    let other = std::thread::spawn(move || join(&there, 1, 8).map(drop));
    let refused = gather(&hosts, Duration::from_secs(20)).unwrap_err().to_string();
    assert!(refused.contains("(rank 1) cannot take part: it has another checkpoint"), "{refused}");
    let told = other.join().unwrap().unwrap_err();
    assert!(!told.may_pass() && told.to_string().contains("another checkpoint"), "{told}");
    let stranger = Offer::new(7, &super::tests::hosts(2));
    assert!(Offer::new(7, &hosts).mismatch(&stranger).unwrap().contains("it was told"));
}

#[test]
fn who_does_not_come_is_named() {
    let hosts = hosts(2);
    let began = Instant::now();
    let missing = gather(&hosts, Duration::from_millis(200)).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(10));
    let told = missing.to_string();
    let second = hosts.all()[1];
    assert!(told.contains(&format!("{second} did not come")) && told.contains("rank 1"), "{told}");
}

#[test]
fn strangers_are_no_followers() {
    let hosts = hosts(2);
    let there = hosts.clone();
    let stranger = std::thread::spawn(move || {
        let connect = || TcpStream::connect(there.first());
        let mut stream = loop {
            if let Ok(stream) = connect() {
                break stream;
            }
            std::thread::yield_now();
        };
        // A length that no greeting has, and then a rank that no host has.
        std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut wrong = connect().unwrap();
        send(&mut wrong, &FromFollower::Hello { rank: 2, offer: Offer::new(7, &there) }).unwrap();
        follower(&there, 1).join().unwrap()
    });
    let links = gather(&hosts, Duration::from_secs(20)).unwrap();
    links.wait_until_ready(&mut || {}).unwrap();
    drop(links);
    stranger.join().unwrap().0.unwrap();
}

#[test]
fn a_follower_that_goes_is_the_end() {
    let hosts = hosts(2);
    let there = hosts.clone();
    let gone = std::thread::spawn(move || drop(join(&there, 1, 7).unwrap()));
    let links = gather(&hosts, Duration::from_secs(20)).unwrap();
    gone.join().unwrap();
    let lost = links.wait_until_ready(&mut || {}).unwrap_err().to_string();
    assert!(lost.contains("(rank 1) is gone"), "{lost}");
    let mut lead = LeadBackend::new(Scribe::new(0).0, links);
    let refused = lead.open(5).unwrap_err();
    assert!(
        matches!(&refused, BackendError::Device { reason, .. } if reason.contains("is gone")),
        "{refused}"
    );
    assert!(lead.doubt().unwrap()().unwrap().0.contains("is gone"));
}

#[test]
fn a_lead_that_goes_is_the_end_of_its_followers() {
    let hosts = hosts(2);
    let follower = follower(&hosts, 1);
    let listener = TcpListener::bind(hosts.first()).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    send(&mut stream, &super::wire::FromLead::Welcome { kv_precision: KvPrecision::F32, widen: true })
        .unwrap();
    drop(stream);
    let (end, told) = follower.join().unwrap();
    assert!(end.unwrap_err().may_pass());
    assert!(told.is_empty());
}

#[test]
fn a_list_of_hosts_is_checked() {
    for (list, wrong) in [
        ("10.0.0.1:5001", "2 to 64 hosts, got 1"),
        ("", "got \"\""),
        ("10.0.0.1:5001,mac:5001", "got \"mac:5001\""),
        ("10.0.0.1:5001,10.0.0.2", "got \"10.0.0.2\""),
        ("10.0.0.1:5001,10.0.0.2:0", "got \"10.0.0.2:0\""),
        ("0.0.0.0:5001,10.0.0.2:5001", "got \"0.0.0.0:5001\""),
        ("10.0.0.1:5001,[::1]:5001", "IPv4"),
        ("10.0.0.1:5001, 10.0.0.1:5001", "comes twice"),
    ] {
        let told = list.parse::<Hosts>().unwrap_err().to_string();
        assert!(told.contains(wrong), "{list}: {told}");
    }
    let hosts: Hosts = "10.0.0.1:5001, 10.0.0.2:5002".parse().unwrap();
    assert_eq!(hosts.hostfile(), "[[\"10.0.0.1:5001\"], [\"10.0.0.2:5002\"]]\n");
    let environment = Hosts::environment(1, std::path::Path::new("/h"));
    assert_eq!(environment, [("MLX_RANK".into(), "1".into()), ("MLX_HOSTFILE".into(), "/h".into())]);
}
