//! A proxy between HTTP clients and a server that refuses, delays, loses and holds back what a test asks for, by method
//! and path.
//!
//! It takes a request whole before it does anything with it, and passes heads on as they are: a signature over them stays
//! good. What a client sent before it gave up can still be delivered, as a network does.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// What is done to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is answered with this status, and the server never hears of it.
    Answer(u16),
    /// It is passed on later.
    Delay(Duration),
    /// It is passed on, and the connection is closed in place of the answer.
    LoseAnswer,
    /// It is passed on, and the connection is closed behind half of the answer.
    CutAnswer,
    /// It is kept until [`Harm::release`], and passed on then, whether or not anybody still waits for it.
    Hold,
    /// Nothing comes of it, and the connection stays.
    Swallow,
    /// It is passed on, no answer ever comes, and the connection stays: the server hears and is not heard.
    Mute,
    /// The connection is closed instead, and the server never hears of it.
    Close,
}

#[derive(Debug)]
struct Rule {
    method: &'static str,
    path: String,
    effect: Effect,
    left: AtomicU64,
    hits: AtomicU64,
    /// How many requests it delays now.
    delays: AtomicU64,
    most_delays: AtomicU64,
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    released: bool,
    answered: u64,
    late: Vec<u16>,
}

type Rules = Arc<Mutex<Vec<Arc<Rule>>>>;

/// A running proxy. Its threads end with the process.
#[derive(Debug)]
pub struct HttpProxy {
    port: u16,
    rules: Rules,
}

/// A rule of a proxy; it holds until it is dropped or has hit as often as it may.
#[derive(Debug)]
pub struct Harm(Arc<Rule>);

impl HttpProxy {
    /// Forwards what comes to a new port to `server`, a port of this machine.
    pub fn start(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("the address of a bound socket").port();
        let rules = Rules::default();
        let of_connections = rules.clone();
        spawn(move || {
            for client in listener.incoming().flatten() {
                let rules = of_connections.clone();
                spawn(move || {
                    // The end of a connection, in whatever way, is its end for the client as well.
                    let _ = serve(&client, server, &rules);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Self { port, rules }
    }

    /// The port that clients use.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Does `effect` to the next `times` requests with this method whose path and query hold `path`; an empty text holds
    /// for all. Of several rules the oldest that is left is obeyed.
    pub fn harm(&self, method: &'static str, path: &str, effect: Effect, times: u64) -> Harm {
        let (held, changed) = Default::default();
        let (hits, delays, most_delays) = Default::default();
        let (path, left) = (path.to_owned(), AtomicU64::new(times));
        let rule = Arc::new(Rule { method, path, effect, left, hits, delays, most_delays, held, changed });
        lock(&self.rules).push(rule.clone());
        Harm(rule)
    }
}

impl Harm {
    /// How many requests it has hit.
    pub fn hits(&self) -> u64 {
        self.0.hits.load(Ordering::Relaxed)
    }

    /// How many requests it has delayed at one time, at most.
    pub fn most_at_once(&self) -> u64 {
        self.0.most_delays.load(Ordering::Relaxed)
    }

    /// Passes on what is [held](Effect::Hold), and what will be.
    pub fn release(&self) {
        lock(&self.0.held).released = true;
        self.0.changed.notify_all();
    }

    /// How many requests that were [held](Effect::Hold) the server has answered.
    pub fn answered(&self) -> u64 {
        lock(&self.0.held).answered
    }

    /// What the server answered to requests that reached it when their clients had given up.
    pub fn late(&self) -> Vec<u16> {
        lock(&self.0.held).late.clone()
    }
}

impl Rule {
    fn delay(&self, time: Duration) {
        let at_once = self.delays.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_delays.fetch_max(at_once, Ordering::Relaxed);
        thread::park_timeout(time);
        self.delays.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Harm {
    fn drop(&mut self) {
        self.0.left.store(0, Ordering::Relaxed);
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("no thread panics with it")
}

fn spawn(body: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name("http-proxy".into()).spawn(body).expect("a thread");
}

/// Serves one client until either side has closed, or a rule has.
fn serve(client: &TcpStream, server: u16, rules: &Rules) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (mut requests, mut to) = (BufReader::new(client), client);
    while let Some(request) = Message::read(&mut requests, Body::OfRequest)? {
        let rule = hit(rules, &request);
        match rule.as_ref().map(|rule| rule.effect) {
            None => to.write_all(&ask(server, &request)?.bytes)?,
            Some(Effect::Answer(status)) => to.write_all(&refusal(status, &request))?,
            Some(Effect::Delay(time)) => {
                if let Some(rule) = rule {
                    rule.delay(time);
                }
                to.write_all(&ask(server, &request)?.bytes)?;
            }
            Some(Effect::LoseAnswer) => return ask(server, &request).map(drop),
            Some(Effect::CutAnswer) => {
                let answer = ask(server, &request)?.bytes;
                return to.write_all(&answer[..answer.len() / 2]);
            }
            Some(Effect::Hold) => {
                let Some(rule) = rule else { return Ok(()) };
                drop(rule.changed.wait_while(lock(&rule.held), |held| !held.released).expect("no thread panics with it"));
                let gone = is_closed(client)?;
                let answer = ask(server, &request)?;
                let mut held = lock(&rule.held);
                held.answered += 1;
                if gone {
                    held.late.push(answer.status());
                    return Ok(());
                }
                drop(held);
                to.write_all(&answer.bytes)?;
            }
            Some(Effect::Swallow) => return io::copy(&mut requests, &mut io::sink()).map(drop),
            Some(Effect::Mute) => {
                ask(server, &request)?;
                return io::copy(&mut requests, &mut io::sink()).map(drop);
            }
            Some(Effect::Close) => return Ok(()),
        }
    }
    Ok(())
}

/// The rule that holds for a request, counted.
fn hit(rules: &Rules, request: &Message) -> Option<Arc<Rule>> {
    let first = request.first_line();
    let (method, path) = first.split_once(' ')?;
    let rules = lock(rules);
    // The lock is held, so nobody else takes what is left.
    let holds = |rule: &&Arc<Rule>| {
        rule.left.load(Ordering::Relaxed) > 0 && (rule.method.is_empty() || rule.method == method) && path.contains(&rule.path)
    };
    let rule = rules.iter().find(holds)?.clone();
    rule.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok()?;
    rule.hits.fetch_add(1, Ordering::Relaxed);
    Some(rule)
}

/// Asks the server, on a connection that is used for nothing else.
fn ask(server: u16, request: &Message) -> io::Result<Message> {
    let server = TcpStream::connect(("127.0.0.1", server))?;
    (&server).write_all(&request.bytes)?;
    let body = if request.first_line().starts_with("HEAD ") { Body::None } else { Body::OfAnswer };
    Message::read(&mut BufReader::new(&server), body)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// An answer in the words of S3.
fn refusal(status: u16, request: &Message) -> Vec<u8> {
    let code = if status == 503 { "SlowDown" } else { "InternalError" };
    let body = match request.first_line().starts_with("HEAD ") {
        true => String::new(),
        false => format!("<Error><Code>{code}</Code><Message>as the test asks</Message></Error>"),
    };
    format!("HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Whether the other side has closed a connection on which it is waiting for an answer.
fn is_closed(client: &TcpStream) -> io::Result<bool> {
    client.set_nonblocking(true)?;
    let seen = client.peek(&mut [0]);
    client.set_nonblocking(false)?;
    Ok(!matches!(seen, Err(error) if error.kind() == io::ErrorKind::WouldBlock))
}

/// A request or an answer, byte by byte as it came.
struct Message {
    bytes: Vec<u8>,
    first_line: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    /// There is none, whatever the head says.
    None,
    /// None unless the head says that there is one.
    OfRequest,
    /// Ends with the connection unless the head says where.
    OfAnswer,
}

impl Message {
    /// The next message; `None` where the connection ends instead.
    fn read(from: &mut impl BufRead, body: Body) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        if line(from, &mut bytes)? == 0 {
            return Ok(None);
        }
        let first_line = bytes.len();
        let (mut length, mut chunked) = (None, false);
        loop {
            let begin = bytes.len();
            line(from, &mut bytes)?;
            let header = String::from_utf8_lossy(&bytes[begin..]).trim().to_ascii_lowercase();
            let Some((name, value)) = header.split_once(':') else { break };
            match name {
                "content-length" => length = Some(value.trim().parse::<u64>().map_err(io::Error::other)?),
                "transfer-encoding" => chunked = value.contains("chunked"),
                _ => {}
            }
        }
        let mut message = Self { bytes, first_line };
        let is_answer = body == Body::OfAnswer;
        match (length, chunked) {
            _ if body == Body::None || (is_answer && [204, 304].contains(&message.status())) => {}
            (_, true) => while !chunk(from, &mut message.bytes)? {},
            (Some(length), false) => exactly(from, length, &mut message.bytes)?,
            (None, false) if is_answer => drop(from.read_to_end(&mut message.bytes)?),
            (None, false) => {}
        }
        Ok(Some(message))
    }

    fn first_line(&self) -> String {
        String::from_utf8_lossy(&self.bytes[..self.first_line]).into_owned()
    }

    fn status(&self) -> u16 {
        self.first_line().split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }
}

/// Takes one line with its end; how many bytes it was.
fn line(from: &mut impl BufRead, into: &mut Vec<u8>) -> io::Result<usize> {
    from.read_until(b'\n', into)
}

/// Takes a chunk of a body; whether it was the last.
fn chunk(from: &mut impl BufRead, into: &mut Vec<u8>) -> io::Result<bool> {
    let begin = into.len();
    line(from, into)?;
    let size = String::from_utf8_lossy(&into[begin..]).split(';').next().map(|size| u64::from_str_radix(size.trim(), 16));
    let size = size.unwrap_or(Ok(0)).map_err(io::Error::other)?;
    exactly(from, size, into)?;
    // The line's end behind the chunk; no trailers are expected behind the last one.
    line(from, into)?;
    Ok(size == 0)
}

fn exactly(from: &mut impl BufRead, length: u64, into: &mut Vec<u8>) -> io::Result<()> {
    match from.take(length).read_to_end(into)? as u64 == length {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
