//! The one table of error codes: name, HTTP status, gRPC code, whether a retry may help.

use std::fmt;
use std::str::FromStr;

use tonic::Code;

/// What became of a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Nothing happened, ever.
    Rejected,
    /// It may or may not take effect, now or later.
    Unknown,
}

impl Outcome {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }

    /// As on the wire; whatever is not `rejected` promises nothing.
    pub fn from_wire(text: &str) -> Self {
        if text == "rejected" {
            Self::Rejected
        } else {
            Self::Unknown
        }
    }
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $http:literal, $grpc:ident, $retryable:literal;)*) => {
        /// Why a request failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)*
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As on the wire and in metrics.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The HTTP status.
            pub fn http_status(self) -> u16 {
                match self { $(Self::$variant => $http,)* }
            }

            /// The gRPC code.
            pub fn grpc_code(self) -> Code {
                match self { $(Self::$variant => Code::$grpc,)* }
            }

            /// Whether the same request may succeed later.
            pub fn is_retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)* }
            }
        }
    };
}

error_codes! {
    /// A field breaks a rule.
    InvalidArgument = "invalid_argument", 400, InvalidArgument, false;
    /// The caller didn't say who it is.
    Unauthenticated = "unauthenticated", 401, Unauthenticated, false;
    /// The caller may not do this.
    PermissionDenied = "permission_denied", 403, PermissionDenied, false;
    /// There is no such key.
    NotFound = "not_found", 404, NotFound, false;
    /// The key's siblings are at their limit, or a condition does not hold: read, merge, write back.
    Conflict = "conflict", 409, Aborted, false;
    /// A size limit was passed.
    TooLarge = "too_large", 413, OutOfRange, false;
    /// A limit on concurrent work was reached: wait, then try again.
    Overloaded = "overloaded", 429, ResourceExhausted, true;
    /// Too few replicas could take part.
    QuorumUnavailable = "quorum_unavailable", 503, Unavailable, true;
    /// Too few replicas answered in time.
    Timeout = "timeout", 504, DeadlineExceeded, true;
    /// The replicas' disks are full.
    DiskFull = "disk_full", 507, ResourceExhausted, true;
    /// Node to node: the caller's placement is old; the newer one comes with the answer.
    StaleEpoch = "stale_epoch", 503, FailedPrecondition, true;
    /// Node to node: the callee's placement is old; hand it the newer one.
    Behind = "behind", 503, FailedPrecondition, true;
    /// A vnode can't prove its data.
    Unavailable = "unavailable", 503, Unavailable, true;
    /// A defect of the server.
    Internal = "internal", 500, Internal, false;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ErrorCode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.as_str().eq_ignore_ascii_case(text))
            .ok_or(())
    }
}
