//! Connections, as the node is handed them.
//!
//! Owns: the one place that opens sockets. Everything else is handed a [`Network`], so that a
//! simulation decides what arrives, when, and what breaks.
//!
//! Invariant: without the feature `simulation` there is the system's TCP and nothing else, so the
//! enumerations below cost nothing.
//!
//! Leaves to others: what is spoken over a connection (`server::listener`, `peer::link`).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
#[cfg(feature = "simulation")]
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::{Channel, Endpoint};

#[cfg(feature = "simulation")]
pub use simulated::{SimulatedAcceptor, SimulatedConnection, SimulatedNetwork};

/// Where connections come from and go to.
#[derive(Debug, Clone)]
pub(crate) enum Network {
    /// The system's TCP.
    System,
    /// A simulation's.
    #[cfg(feature = "simulation")]
    Simulated(Arc<dyn SimulatedNetwork>),
}

impl Network {
    /// Listens; port 0 takes a free one.
    pub(crate) async fn listen(&self, address: SocketAddr) -> io::Result<Acceptor> {
        match self {
            #[expect(
                clippy::disallowed_methods,
                reason = "the one place that listens; simulations have a network of their own"
            )]
            Self::System => TcpListener::bind(address).await.map(Acceptor::System),
            #[cfg(feature = "simulation")]
            Self::Simulated(network) => network.listen(address).await.map(Acceptor::Simulated),
        }
    }

    /// Connects to where `endpoint` leads, which is `address`.
    pub(crate) async fn connect(
        &self,
        endpoint: &Endpoint,
        address: &str,
    ) -> Result<Channel, tonic::transport::Error> {
        #[cfg(feature = "simulation")]
        if let Self::Simulated(network) = self {
            return simulated::connect(network.clone(), endpoint, address).await;
        }
        let _ = address; // the system finds it in the endpoint
        endpoint.connect().await
    }
}

/// Takes connections.
#[derive(Debug)]
pub(crate) enum Acceptor {
    /// The system's.
    System(TcpListener),
    /// A simulation's.
    #[cfg(feature = "simulation")]
    Simulated(Box<dyn SimulatedAcceptor>),
}

impl Acceptor {
    /// Where it listens.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::System(listener) => listener.local_addr(),
            #[cfg(feature = "simulation")]
            Self::Simulated(acceptor) => acceptor.address(),
        }
    }

    /// The next connection. Small answers don't wait for a full segment on it; where that can't be
    /// had, they are slower.
    pub(crate) async fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::System(listener) => {
                let (stream, _) = listener.accept().await?;
                let _ = stream.set_nodelay(true);
                Ok(Connection::System(stream))
            }
            #[cfg(feature = "simulation")]
            Self::Simulated(acceptor) => acceptor.accept().await.map(Connection::Simulated),
        }
    }
}

/// One that was accepted.
pub(crate) enum Connection {
    /// The system's.
    System(TcpStream),
    /// A simulation's.
    #[cfg(feature = "simulation")]
    Simulated(Box<dyn SimulatedConnection>),
}

impl Connection {
    /// Waits for the first bytes and leaves them there. 0: the other side closed.
    pub(crate) async fn peek(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::System(stream) => stream.peek(bytes).await,
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => {
                let mut buffer = ReadBuf::new(bytes);
                std::future::poll_fn(|context| stream.poll_peek(context, &mut buffer)).await
            }
        }
    }
}

macro_rules! on_either {
    ($connection:expr, $stream:ident => $work:expr) => {
        match $connection.get_mut() {
            Self::System($stream) => $work,
            #[cfg(feature = "simulation")]
            Self::Simulated($stream) => $work,
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_either!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_either!(self, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_either!(self, stream => Pin::new(stream).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::System(stream) => stream.is_write_vectored(),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_either!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_either!(self, stream => Pin::new(stream).poll_shutdown(context))
    }
}

#[cfg(feature = "simulation")]
mod simulated {
    use std::fmt::Debug;

    use futures::future::BoxFuture;
    use hyper_util::rt::TokioIo;
    use tower::service_fn;

    use super::{
        Arc, AsyncRead, AsyncWrite, Channel, Context, Endpoint, Poll, ReadBuf, SocketAddr, io,
    };

    /// What a simulation puts in the place of the system's network.
    pub trait SimulatedNetwork: Debug + Send + Sync + 'static {
        /// Listens on a port of the node that asks.
        fn listen(
            &self,
            address: SocketAddr,
        ) -> BoxFuture<'static, io::Result<Box<dyn SimulatedAcceptor>>>;

        /// Connects the node that asks to `name:port`.
        fn connect(
            &self,
            address: String,
        ) -> BoxFuture<'static, io::Result<Box<dyn SimulatedConnection>>>;
    }

    /// Takes connections in a simulation.
    pub trait SimulatedAcceptor: Debug + Send + Sync + 'static {
        /// Where it listens.
        fn address(&self) -> io::Result<SocketAddr>;

        /// The next connection.
        fn accept(&self) -> BoxFuture<'_, io::Result<Box<dyn SimulatedConnection>>>;
    }

    /// A connection of a simulation.
    pub trait SimulatedConnection: AsyncRead + AsyncWrite + Unpin + Send + 'static {
        /// As reading, but what came stays there.
        fn poll_peek(
            &mut self,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<usize>>;
    }

    pub(super) async fn connect(
        network: Arc<dyn SimulatedNetwork>,
        endpoint: &Endpoint,
        address: &str,
    ) -> Result<Channel, tonic::transport::Error> {
        let address = address.to_owned();
        let connector = service_fn(move |_| {
            let connecting = network.connect(address.clone());
            async move { connecting.await.map(TokioIo::new) }
        });
        endpoint.connect_with_connector(connector).await
    }
}
