//! The process's side of a run: signals and the monitoring endpoint, on a thread with a small runtime of its own.

use crate::http::{self, Probes};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// The running thread. Ends when dropped.
pub struct Edge {
    stop: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Edge {
    /// Calls `on_signal` for each SIGTERM and SIGINT, which no longer end the process, and answers on `listener`.
    ///
    /// # Errors
    /// Signals or threads are refused by the system.
    pub fn start(listener: Option<(TcpListener, Probes)>, on_signal: impl Fn() + Send + 'static) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (terminate, interrupt) = {
            // Registering needs the runtime's context.
            let _inside = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = watch(terminate, interrupt, on_signal) => {}
                    () = answer(listener) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = Builder::new().name("weir-edge".into()).spawn(run)?;
        Ok(Self { stop: Some((stop, thread)) })
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.stop.take() {
            // Neither fails unless the thread has ended already.
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

async fn watch(mut terminate: Signal, mut interrupt: Signal, on_signal: impl Fn()) {
    loop {
        tokio::select! {
            Some(()) = terminate.recv() => {}
            Some(()) = interrupt.recv() => {}
            else => return std::future::pending().await,
        }
        on_signal();
    }
}

/// Never returns: without the endpoint, signals are still to be heard.
async fn answer(listener: Option<(TcpListener, Probes)>) {
    if let Some((listener, probes)) = listener
        && let Err(error) = http::serve(listener, Arc::new(probes)).await
    {
        tracing::error!(%error, "the monitoring endpoint has ended");
    }
    std::future::pending().await
}
