//! Takes in what a host put onto a stick, sealed to this hub: reports, as if the host had sent them, and how it stood.

use afield_core::bundle::{FORMAT, Package, Standing, Unpacked};
use afield_core::secrets::age::{self, AgeError};

use crate::http::{Kind, Rejection};
use crate::hub::Hub;
use crate::reports::{Sender, key_of};

impl Hub {
    /// Opens a package and takes its reports; each counts once, however it came.
    pub async fn take_package(&self, sealed: &[u8]) -> Result<Unpacked, Rejection> {
        let package = self.open_package(sealed)?;
        let standing = self.open_standing(&package).await?;
        let malformed = |error: String| {
            Rejection::new(
                Kind::Malformed,
                error,
                "nothing of it was taken; the host has the reports still",
            )
        };
        for envelope in &package.reports {
            let sender = serde_json::from_str::<Sender>(&envelope.payload);
            let sender = sender.map_err(|e| malformed(format!("a report cannot be read: {e}")))?;
            if sender.host != standing.host {
                let (own, other) = (&standing.host, sender.host);
                return Err(malformed(format!("the package of {own} has a report of {other}")));
            }
        }
        let taken = match package.reports.is_empty() {
            true => None,
            false => Some(self.take_reports(&package.reports).await?),
        };
        Ok(Unpacked { standing, reports: package.reports.len() as u64, taken })
    }

    fn open_package(&self, sealed: &[u8]) -> Result<Package, Rejection> {
        let refused = |kind, error: String, remedy| Err(Rejection::new(kind, error, remedy));
        let plain = match age::decrypt(sealed, &self.rollout_key.identity()) {
            Ok(plain) => plain,
            Err(AgeError::NotForKey) => {
                return refused(
                    Kind::Forbidden,
                    "the package is not sealed to this hub's key".into(),
                    "it is another fleet's, or older than the rollout key; the host writes its reports again, \
                     onto the next stick",
                );
            }
            Err(e) => {
                return refused(
                    Kind::Malformed,
                    format!("the package cannot be opened: {e}"),
                    "the stick was full, or pulled out too early; the host has the reports still",
                );
            }
        };
        let package: Package = match serde_json::from_slice(&plain) {
            Ok(package) => package,
            Err(e) => {
                let error = format!("the package cannot be read: {e}");
                return refused(Kind::Malformed, error, "update the hub");
            }
        };
        if package.format > FORMAT {
            let error = format!("the package has format {}", package.format);
            return refused(Kind::Malformed, error, "update the hub");
        }
        Ok(package)
    }

    /// How the host stood, if that host signed it.
    async fn open_standing(&self, package: &Package) -> Result<Standing, Rejection> {
        let mut state = self.state.lock().await;
        self.refresh(&mut state, true).await?;
        let known = state.known.clone().ok_or_else(Rejection::no_release)?;
        let sender: Sender = serde_json::from_str(&package.standing.payload).map_err(|e| {
            let error = format!("how the host stood cannot be read: {e}");
            Rejection::new(Kind::Malformed, error, "update the hub")
        })?;
        let key = key_of(&sender.host, &known, &state.memory)?;
        let what = format!("what {} says of itself", sender.host);
        let remedy = "it is signed with another key than the fleet folder names for this host";
        let standing: Standing =
            package.standing.open(&[key], 1).map_err(|e| Rejection::unopened(&what, &e, remedy))?;
        if standing.fleet != known.fleet {
            let error = format!("the package is from the fleet {}", standing.fleet);
            return Err(Rejection::new(Kind::Malformed, error, "give it to that fleet's hub"));
        }
        Ok(standing)
    }
}
