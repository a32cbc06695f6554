//! A proxy between Kafka's clients and a broker that loses, delays and cuts what a test asks for, by kind of request, and
//! puts errors into answers.
//!
//! It reads the frames of Kafka's protocol: of a request the API's key, of an answer the correlation id, by which it is
//! known what was asked. What a client sent before it gave up is still delivered when its delay is over, as a network does.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Produces records.
    Produce,
    /// Fetches committed offsets.
    OffsetFetch,
    /// Takes a transactional id over.
    InitProducerId,
    /// Announces partitions of outputs in a transaction.
    AddPartitionsToTxn,
    /// Announces offsets of a group in a transaction.
    AddOffsetsToTxn,
    /// Commits a transaction.
    Commit,
    /// Aborts a transaction.
    Abort,
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the broker.
    Request,
    /// To the client.
    Answer,
}

/// What is done to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It never comes, and the connection stays.
    Drop,
    /// The connection is cut instead.
    Reset,
    /// It comes, the connection is cut behind it, and requests are [blocked](Proxy::block) over all others.
    LastOfAll,
    /// It comes later, and what is behind it on its connection as well.
    Delay(Duration),
    /// An answer to [`Api::OffsetFetch`] comes with this error at each partition, in place of its offset.
    RefusePartitions(i16),
    /// An answer to [`Api::OffsetFetch`] comes with this error of the whole group, and without partitions.
    RefuseGroup(i16),
}

#[derive(Debug)]
struct Rule {
    api: Api,
    way: Way,
    effect: Effect,
    left: u64,
}

#[derive(Debug, Default)]
struct Rules {
    rules: Vec<Rule>,
    hits: u64,
    /// Takeovers of a transactional id and other epochs of it that were asked for so far.
    takeovers: u64,
    /// What was announced in transactions so far.
    announced: u64,
    /// Delayed requests that came when a takeover and then a transaction's begin had passed them.
    overtaken: u64,
    blocked: Vec<Way>,
    /// Connections so far.
    connections: u64,
    /// What comes from clients over connections with a lower number is lost.
    deaf_below: u64,
}

#[derive(Debug, Default)]
struct Shared {
    rules: Mutex<Rules>,
    changed: Condvar,
}

/// A running proxy. Its threads end with the process.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Forwards what comes to a new port to `broker`, a port of this machine.
    pub fn start(broker: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("the address of a bound socket").port();
        let shared = Arc::new(Shared::default());
        let of_connections = shared.clone();
        spawn(move || {
            for client in listener.incoming().flatten() {
                // A broker that is not there is a connection that is refused.
                if let Ok(server) = TcpStream::connect(("127.0.0.1", broker)) {
                    connect(&client, &server, &of_connections);
                }
            }
        });
        Self { port, shared }
    }

    /// The port that clients use.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Does `effect` to the next `times` frames of this kind.
    pub fn harm(&self, api: Api, way: Way, effect: Effect, times: u64) {
        self.shared.lock().rules.push(Rule { api, way, effect, left: times });
    }

    /// Forgets all rules; how many frames were harmed since they were last forgotten.
    pub fn heal(&self) -> u64 {
        let mut rules = self.shared.lock();
        rules.rules.clear();
        std::mem::take(&mut rules.hits)
    }

    /// How many frames were harmed or held up.
    pub fn hits(&self) -> u64 {
        self.shared.lock().hits
    }

    /// How many times a transactional id was taken over, or another epoch of it asked for.
    pub fn takeovers(&self) -> u64 {
        self.shared.lock().takeovers
    }

    /// How many delayed requests have come to the broker behind a takeover of a transactional id and a transaction's begin that
    /// were asked for after them.
    pub fn overtaken(&self) -> u64 {
        self.shared.lock().overtaken
    }

    /// Loses all that clients send from now on. Connections stay, and what comes over one of now is lost after
    /// [`open`](Self::open) too: nothing of it lies in a socket's buffer and is delivered when its sender is long dead.
    pub fn lose_requests(&self) {
        self.shared.lock().deaf_below = u64::MAX;
    }

    /// Lets nothing through in one direction until it is [opened](Self::open) again.
    pub fn block(&self, way: Way) {
        self.shared.lock().blocked.push(way);
    }

    /// Lets everything through again, what was held up as well.
    pub fn open(&self) {
        let mut rules = self.shared.lock();
        rules.blocked.clear();
        rules.deaf_below = rules.deaf_below.min(rules.connections);
        drop(rules);
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().expect("no thread panics with the rules")
    }

    /// The effect of the first rule that holds for a frame.
    fn effect(&self, api: Option<Api>, way: Way) -> Option<Effect> {
        let mut rules = self.lock();
        let rule = rules.rules.iter_mut().find(|rule| Some(rule.api) == api && rule.way == way && rule.left > 0)?;
        rule.left -= 1;
        let effect = rule.effect;
        rules.hits += 1;
        Some(effect)
    }

    /// Waits for a delayed frame's time.
    fn hold(&self, time: Duration, way: Way) {
        let (takeovers, announced) = {
            let rules = self.lock();
            (rules.takeovers, rules.announced)
        };
        thread::park_timeout(time);
        let mut rules = self.lock();
        let is_passed = rules.takeovers > takeovers && rules.announced > announced;
        rules.overtaken += u64::from(way == Way::Request && is_passed);
    }

    fn is_lost(&self, connection: u64, way: Way) -> bool {
        let mut rules = self.lock();
        let lost = way == Way::Request && connection < rules.deaf_below;
        rules.hits += u64::from(lost);
        lost
    }

    fn wait_while_blocked(&self, way: Way) {
        let mut rules = self.lock();
        rules.hits += u64::from(rules.blocked.contains(&way));
        let _open = self.changed.wait_while(rules, |rules| rules.blocked.contains(&way)).expect("no thread panics with the rules");
    }
}

fn spawn(body: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name("proxy".into()).spawn(body).expect("a thread");
}

/// What was asked under each correlation id of a connection.
type Asked = Arc<Mutex<HashMap<i32, Option<Api>>>>;

fn connect(client: &TcpStream, server: &TcpStream, shared: &Arc<Shared>) {
    let asked = Asked::default();
    let number = {
        let mut rules = shared.lock();
        rules.connections += 1;
        rules.connections - 1
    };
    for way in [Way::Request, Way::Answer] {
        let (from, to) = if way == Way::Request { (client, server) } else { (server, client) };
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
        let (shared, asked) = (shared.clone(), asked.clone());
        spawn(move || {
            // The end of a connection, in whatever way, is the end of both its halves.
            let _ = forward(&from, &to, (number, way), &shared, &asked);
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}

fn forward(mut from: &TcpStream, mut to: &TcpStream, (connection, way): (u64, Way), shared: &Shared, asked: &Asked) -> io::Result<()> {
    loop {
        let mut frame = vec![0; 4];
        from.read_exact(&mut frame)?;
        let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
        frame.resize(4 + length, 0);
        from.read_exact(&mut frame[4..])?;
        if shared.is_lost(connection, way) {
            continue;
        }
        let api = kind(&frame[4..], way, asked);
        let effect = shared.effect(api, way);
        match effect {
            None | Some(Effect::LastOfAll) => {}
            Some(Effect::Drop) => continue,
            Some(Effect::Reset) => return Ok(()),
            Some(Effect::Delay(time)) => shared.hold(time, way),
            Some(Effect::RefusePartitions(code)) => frame = framed(&refused_offsets(&frame[4..], code, false)),
            Some(Effect::RefuseGroup(code)) => frame = framed(&refused_offsets(&frame[4..], code, true)),
        }
        shared.wait_while_blocked(way);
        if effect == Some(Effect::LastOfAll) {
            shared.lock().blocked.push(Way::Request);
            return to.write_all(&frame);
        }
        to.write_all(&frame)?;
        match api.filter(|_| way == Way::Request) {
            Some(Api::InitProducerId) => shared.lock().takeovers += 1,
            Some(Api::AddPartitionsToTxn | Api::AddOffsetsToTxn) => shared.lock().announced += 1,
            _ => {}
        }
    }
}

/// What a frame asks or answers, if it is of a kind that rules know.
fn kind(frame: &[u8], way: Way, asked: &Asked) -> Option<Api> {
    let mut asked = asked.lock().expect("no thread panics with the ids");
    let number = |at: usize| Some(i16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    let id = |at: usize| Some(i32::from_be_bytes(frame.get(at..at + 4)?.try_into().ok()?));
    if way == Way::Answer {
        return asked.remove(&id(0)?)?;
    }
    let api = match number(0)? {
        0 => Some(Api::Produce),
        9 => Some(Api::OffsetFetch),
        22 => Some(Api::InitProducerId),
        24 => Some(Api::AddPartitionsToTxn),
        25 => Some(Api::AddOffsetsToTxn),
        26 => {
            // Behind key, version and correlation id the client's name; then the transactional id, the producer's id and
            // epoch, and whether to commit. librdkafka asks with version 1, whose texts have lengths of two bytes.
            let name = 8 + 2 + number(8)?.max(0) as usize;
            let commits = name + 2 + number(name)?.max(0) as usize + 8 + 2;
            Some(if *frame.get(commits)? == 0 { Api::Abort } else { Api::Commit })
        }
        _ => None,
    };
    asked.insert(id(4)?, api);
    api
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes()[..], body].concat()
}

/// An answer to OffsetFetch as a broker gives it that has an error instead of offsets: at each partition, or of the group,
/// whose topics it leaves out then. librdkafka asks with version 9, for one group.
fn refused_offsets(answer: &[u8], code: i16, of_group: bool) -> Vec<u8> {
    let mut rest = Compact(answer);
    // Correlation id, tags, time to wait, number of groups, name of the group.
    let mut refused = [rest.take(4 + 1 + 4 + 1), rest.text()].concat();
    let (topics, count) = rest.counted();
    refused.extend(if of_group { &[1][..] } else { topics });
    for _ in 0..count {
        let name = rest.text();
        let (partitions, count) = rest.counted();
        let mut topic = [name, partitions].concat();
        for _ in 0..count {
            let partition = rest.take(4);
            // Offset, leader's epoch, metadata, error, tags.
            rest.take(8 + 4);
            rest.text();
            rest.take(2 + 1);
            topic.extend([partition, &(-1i64).to_be_bytes(), &(-1i32).to_be_bytes(), &[1], &code.to_be_bytes(), &[0]].concat());
        }
        topic.extend(rest.take(1));
        refused.extend(if of_group { vec![] } else { topic });
    }
    rest.take(2);
    let of_all = if of_group { code } else { 0 };
    refused.extend(of_all.to_be_bytes());
    refused.extend(rest.take(1 + 1));
    assert!(rest.0.is_empty(), "an answer to OffsetFetch of another version: {answer:?}");
    refused
}

/// What is left of a body in which a list or text has its length and one more before it, in bytes of seven bits.
struct Compact<'a>(&'a [u8]);

impl<'a> Compact<'a> {
    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes);
        self.0 = rest;
        taken
    }

    /// A list's length: as it stands there, and as a number.
    fn counted(&mut self) -> (&'a [u8], usize) {
        let bytes = 1 + self.0.iter().take_while(|byte| **byte >= 0x80).count();
        let taken = self.take(bytes);
        let number = taken.iter().rev().fold(0, |number, byte| (number << 7) + usize::from(byte & 0x7f));
        (taken, number.saturating_sub(1))
    }

    /// A text with its length.
    fn text(&mut self) -> &'a [u8] {
        let all = self.0;
        let (length, bytes) = self.counted();
        self.take(bytes);
        &all[..length.len() + bytes]
    }
}
