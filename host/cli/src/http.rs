//! What a running job answers to monitoring: `/metrics`, `/healthz`, `/readyz`.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// What `prometheus-client` writes; Prometheus chooses its parser by it.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where the answers come from.
pub struct Probes {
    /// All metrics as OpenMetrics text.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Whether every worker goes on; otherwise which one does not.
    pub alive: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Whether the job is processing; otherwise what it is doing instead.
    pub ready: Box<dyn Fn() -> Result<(), &'static str> + Send + Sync>,
}

/// A listener that a tokio runtime can take over, and its address: a port of 0 has become a free one.
pub fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Answers until it is dropped.
pub async fn serve(listener: TcpListener, probes: Arc<Probes>) -> io::Result<()> {
    let router =
        Router::new().route("/metrics", get(metrics)).route("/healthz", get(health)).route("/readyz", get(readiness)).with_state(probes);
    axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await
}

async fn metrics(State(probes): State<Arc<Probes>>) -> Response {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], (probes.metrics)()).into_response()
}

async fn health(State(probes): State<Arc<Probes>>) -> Response {
    match (probes.alive)() {
        Ok(()) => json(StatusCode::OK, &serde_json::json!({ "status": "ok" })),
        Err(reason) => json(StatusCode::SERVICE_UNAVAILABLE, &serde_json::json!({ "status": "standing still", "reason": reason })),
    }
}

async fn readiness(State(probes): State<Arc<Probes>>) -> Response {
    match (probes.ready)() {
        Ok(()) => json(StatusCode::OK, &serde_json::json!({ "status": "ready" })),
        Err(reason) => json(StatusCode::SERVICE_UNAVAILABLE, &serde_json::json!({ "status": "not ready", "reason": reason })),
    }
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread::JoinHandle;
    use tokio::sync::oneshot;

    /// The endpoint on a free loopback port; ends when dropped.
    struct Endpoint {
        address: SocketAddr,
        ready: Arc<AtomicBool>,
        stop: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    }

    impl Endpoint {
        fn start() -> Self {
            let (listener, address) = bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let ready = Arc::new(AtomicBool::new(false));
            let seen = ready.clone();
            let probes = Probes {
                metrics: Box::new(|| "weir_epoch 3\n# EOF\n".into()),
                alive: Box::new(|| Ok(())),
                ready: Box::new(move || if seen.load(Ordering::SeqCst) { Ok(()) } else { Err("restoring") }),
            };
            let (stop, stopped) = oneshot::channel::<()>();
            let run = move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    tokio::select! {
                        end = serve(listener, Arc::new(probes)) => end.unwrap(),
                        _ = stopped => {}
                    }
                });
            };
            let thread = std::thread::Builder::new().name("endpoint".into()).spawn(run).unwrap();
            Self { address, ready, stop: Some((stop, thread)) }
        }

        fn get(&self, path: &str) -> String {
            let mut stream = TcpStream::connect(self.address).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        }
    }

    impl Drop for Endpoint {
        fn drop(&mut self) {
            if let Some((stop, thread)) = self.stop.take() {
                stop.send(()).unwrap();
                thread.join().unwrap();
            }
        }
    }

    #[test]
    fn metrics_come_with_the_content_type_of_open_metrics() {
        let answer = Endpoint::start().get("/metrics");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.to_lowercase().contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nweir_epoch 3\n# EOF\n"), "{answer}");
    }

    #[test]
    fn a_job_that_restores_is_alive_and_not_ready_with_the_reason() {
        let endpoint = Endpoint::start();
        let answer = endpoint.get("/readyz");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.ends_with(r#"{"reason":"restoring","status":"not ready"}"#), "{answer}");
        assert!(endpoint.get("/healthz").starts_with("HTTP/1.1 200 "));
        endpoint.ready.store(true, Ordering::SeqCst);
        assert!(endpoint.get("/readyz").starts_with("HTTP/1.1 200 "));
    }

    #[test]
    fn other_paths_are_not_found() {
        assert!(Endpoint::start().get("/").starts_with("HTTP/1.1 404 "));
    }
}
