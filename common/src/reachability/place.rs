//! Where a peer's address is: country and autonomous system, as an operator's databases say.

use std::fmt;
use std::str::FromStr;

/// Two letters of ISO 3166-1 (alpha-2), capitals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CountryCode([u8; 2]);

/// The text is no country code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a country code is two letters of ISO 3166-1, such as CH")]
pub struct NoCountryCode;

impl FromStr for CountryCode {
    type Err = NoCountryCode;

    fn from_str(text: &str) -> Result<Self, NoCountryCode> {
        match *text.as_bytes() {
            [a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Ok(Self([a, b])),
            _ => Err(NoCountryCode),
        }
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = self.0;
        write!(f, "{}{}", char::from(a), char::from(b))
    }
}

/// What is known of where an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Place {
    /// The country.
    pub country: Option<CountryCode>,
    /// Number of the autonomous system that announces it.
    pub system: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_is_two_capitals() {
        assert_eq!("CH".parse::<CountryCode>().unwrap().to_string(), "CH");
        for wrong in ["", "C", "ch", "CHE", "C1", "É"] {
            assert_eq!(wrong.parse::<CountryCode>(), Err(NoCountryCode), "{wrong}");
        }
    }
}
