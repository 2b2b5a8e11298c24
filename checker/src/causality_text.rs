//! Dots and clocks as JSON text: a dot is `"<actor>:<counter>"`, a clock a map from actor to counter.

/// `#[serde(with)]` for an optional dot.
pub(crate) mod dot {
    use annulus_causality::Dot;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn parse(text: &str) -> Result<Dot, String> {
        let parts = text.rsplit_once(':');
        let (actor, counter) = parts.ok_or_else(|| format!("dot {text:?} has no ':'"))?;
        let actor = actor
            .parse::<annulus_causality::Actor>()
            .map_err(|error| format!("dot {text:?}: {error}"))?;
        match counter.parse() {
            Ok(counter) if counter > 0 => Ok(actor.dot(counter)),
            _ => Err(format!("dot {text:?}: the counter is no number above 0")),
        }
    }

    pub(crate) fn serialize<S: Serializer>(dot: &Dot, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(dot)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Dot, D::Error> {
        parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }

    /// The same, where it may be missing.
    pub(crate) mod option {
        use super::{Deserializer, Dot, Serializer, parse};
        use serde::de::Error as _;
        use serde::{Deserialize as _, Serialize as _};

        #[expect(clippy::ref_option, reason = "the signature is serde's")]
        pub(crate) fn serialize<S: Serializer>(
            dot: &Option<Dot>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            dot.map(|dot| dot.to_string()).serialize(to)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<Dot>, D::Error> {
            let text = Option::<String>::deserialize(from)?;
            text.map(|text| parse(&text).map_err(D::Error::custom))
                .transpose()
        }
    }
}

/// `#[serde(with)]` for a clock.
pub(crate) mod clock {
    use std::collections::BTreeMap;

    use annulus_causality::{Actor, VersionVector};
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    fn parse(entries: BTreeMap<String, u64>) -> Result<VersionVector, String> {
        let mut clock = VersionVector::new();
        for (actor, counter) in entries {
            let actor: Actor = actor
                .parse()
                .map_err(|error| format!("clock's actor {actor:?}: {error}"))?;
            if counter == 0 {
                return Err(format!("clock's counter of {actor} is 0"));
            }
            clock.insert(actor.dot(counter));
        }
        Ok(clock)
    }

    pub(crate) fn serialize<S: Serializer>(
        clock: &VersionVector,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_map(clock.iter().map(|(actor, n)| (actor.to_string(), n)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<VersionVector, D::Error> {
        parse(BTreeMap::deserialize(from)?).map_err(D::Error::custom)
    }

    /// The same, where it may be missing.
    pub(crate) mod option {
        use super::{BTreeMap, Deserializer, Serializer, VersionVector, parse};
        use serde::Deserialize as _;
        use serde::de::Error as _;

        #[expect(clippy::ref_option, reason = "the signature is serde's")]
        pub(crate) fn serialize<S: Serializer>(
            clock: &Option<VersionVector>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            match clock {
                Some(clock) => super::serialize(clock, to),
                None => to.serialize_none(),
            }
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<VersionVector>, D::Error> {
            let entries = Option::<BTreeMap<String, u64>>::deserialize(from)?;
            entries
                .map(|entries| parse(entries).map_err(D::Error::custom))
                .transpose()
        }
    }
}
