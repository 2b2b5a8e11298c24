//! The nodes' connections over turmoil's TCP, and a way to reset them.
//!
//! turmoil loses and holds segments, and delays each by itself; what it can't do is to reset a
//! connection that stands. So every accepted or opened connection is known here by its node.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use annulus_node::simulation::{
    Chance, SimulatedAcceptor, SimulatedConnection, SimulatedNetwork, Trace,
};
use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

/// How one machine listens and connects. Clones are one.
#[derive(Clone)]
pub(crate) struct Wires(Arc<Inner>);

struct Inner {
    machine: String,
    trace: Arc<Trace>,
    standing: Mutex<Vec<Weak<Switch>>>,
    /// The process is ending: nothing comes and nothing goes any more.
    is_cut_off: AtomicBool,
}

impl std::fmt::Debug for Wires {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wires({})", self.0.machine)
    }
}

/// Whether a connection was reset.
#[derive(Default)]
struct Switch {
    is_reset: AtomicBool,
    reader: AtomicWaker,
}

impl Wires {
    pub(crate) fn new(machine: &str, trace: Arc<Trace>) -> Self {
        Self(Arc::new(Inner {
            machine: machine.to_owned(),
            trace,
            standing: Mutex::default(),
            is_cut_off: AtomicBool::new(false),
        }))
    }

    /// Resets about so many in a thousand connections; how many there were.
    pub(crate) fn reset(&self, chance: &Chance, per_mille: u64) -> usize {
        let mut standing = self.0.standing.lock();
        standing.retain(|switch| switch.strong_count() > 0);
        let mut count = 0;
        for switch in standing.iter().filter_map(Weak::upgrade) {
            if chance.hits(per_mille) {
                switch.is_reset.store(true, Ordering::Relaxed);
                switch.reader.wake();
                count += 1;
            }
        }
        count
    }

    /// The process ends: its connections are closed, one after the other. A runtime that is dropped would
    /// close them in an order that depends on what else the test's process does.
    pub(crate) fn cut_off(&self) {
        self.0.is_cut_off.store(true, Ordering::Relaxed);
        self.reset(&Chance::new(0, "all of them"), 1000);
    }

    /// Another process begins.
    pub(crate) fn begin(&self) {
        self.0.is_cut_off.store(false, Ordering::Relaxed);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.is_cut_off.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::NetworkDown.into());
        }
        Ok(())
    }

    fn wire(&self, stream: TcpStream, how: &str) -> Box<dyn SimulatedConnection> {
        if let (Ok(local), Ok(remote)) = (stream.local_addr(), stream.peer_addr()) {
            let machine = &self.0.machine;
            let trace = &self.0.trace;
            trace.note(format_args!("{machine} {how} {local} {remote}"));
        }
        let switch = Arc::new(Switch::default());
        self.0.standing.lock().push(Arc::downgrade(&switch));
        Box::new(Wire { stream, switch })
    }
}

impl SimulatedNetwork for Wires {
    fn listen(
        &self,
        address: SocketAddr,
    ) -> BoxFuture<'static, io::Result<Box<dyn SimulatedAcceptor>>> {
        let wires = self.clone();
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            let acceptor: Box<dyn SimulatedAcceptor> = Box::new(Acceptor { listener, wires });
            Ok(acceptor)
        })
    }

    fn connect(
        &self,
        address: String,
    ) -> BoxFuture<'static, io::Result<Box<dyn SimulatedConnection>>> {
        let wires = self.clone();
        Box::pin(async move {
            wires.check()?;
            let stream = TcpStream::connect(address).await?;
            Ok(wires.wire(stream, "connects"))
        })
    }
}

struct Acceptor {
    listener: TcpListener,
    wires: Wires,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Acceptor({:?})", self.wires)
    }
}

impl SimulatedAcceptor for Acceptor {
    fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Box<dyn SimulatedConnection>>> {
        Box::pin(async move {
            let (stream, _) = self.listener.accept().await?;
            self.wires.check()?;
            Ok(self.wires.wire(stream, "accepts"))
        })
    }
}

struct Wire {
    stream: TcpStream,
    switch: Arc<Switch>,
}

impl Wire {
    fn check(&self) -> io::Result<()> {
        if self.switch.is_reset.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl SimulatedConnection for Wire {
    fn poll_peek(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        self.switch.reader.register(context.waker());
        self.check()?;
        self.stream.poll_peek(context, buffer)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.switch.reader.register(context.waker());
        self.check()?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
