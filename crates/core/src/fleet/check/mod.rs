//! Every rule that looks at more than one value; those about one value alone are kept while loading.

mod entries;
mod hosts;
mod keys;
mod people;
mod tunnels;

use super::access::Accesses;
use super::finding::{Finding, Findings};
use super::model::Fleet;

pub use people::describe;
pub(super) use people::{host_access, profiles_exist, role_problems, unknown_given};

/// Everything that is wrong with a fleet as of a day, sorted by file and line.
///
/// Together with the findings of [`super::load`] that is all; see [`super::Loaded::check`].
pub fn check(fleet: &Fleet, today: jiff::civil::Date) -> Vec<Finding> {
    let accesses = Accesses::new(fleet);
    let mut findings = Findings::default();
    people::check(fleet, &accesses, today, &mut findings);
    keys::check(fleet, &accesses, &mut findings);
    tunnels::check(fleet, &accesses, &mut findings);
    hosts::check(fleet, &mut findings);
    entries::check(fleet, &mut findings);
    findings.finish(&fleet.files)
}
