//! Where requests go when nobody says where.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

/// Tried in this order: a cluster's forwarded port, then a local ring's first node.
pub(crate) const USUAL: [&str; 2] = ["127.0.0.1:9600", "127.0.0.1:9700"];

/// The longest time to connect to one of them. They are on this machine, which answers at once.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);

/// The first address where somebody listens; where nobody does, the first, so that the request
/// fails with the reason.
pub(crate) async fn first_listening(addresses: [&str; 2]) -> &str {
    for address in addresses {
        if matches!(
            timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await,
            Ok(Ok(_))
        ) {
            return address;
        }
    }
    addresses[0]
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Port 1 of loopback: nobody listens there.
    const NOBODY: &str = "127.0.0.1:1";

    #[tokio::test]
    async fn the_first_that_listens_is_taken() {
        let listeners = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let [one, other] = listeners
            .each_ref()
            .map(|listener| listener.local_addr().unwrap().to_string());
        assert_eq!(first_listening([&one, &other]).await, one);
        assert_eq!(first_listening([NOBODY, &other]).await, other);
    }

    #[tokio::test]
    async fn where_nobody_listens_it_is_the_first() {
        assert_eq!(first_listening([NOBODY, "127.0.0.1:2"]).await, NOBODY);
    }
}
