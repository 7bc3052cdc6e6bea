//! The audit as one HTML page that a manager reads and prints: nothing is loaded from elsewhere, filters need no server.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use afield_core::fleet::audit::{Audit, Cell};
use afield_core::fleet::describe;
use afield_core::host_plan::Via;
use afield_core::ids::UserName;

/// A matrix with more cells than this is left out; the list says the same.
const MATRIX_CELLS: usize = 60_000;

const STYLE: &str = "
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #222; }
h1 { font-size: 1.4em; } h2 { font-size: 1.1em; margin-top: 2em; }
table { border-collapse: collapse; } th, td { border: 1px solid #bbb; padding: .2em .5em; text-align: left; }
thead th { background: #eee; position: sticky; top: 0; } .matrix td { text-align: center; white-space: nowrap; }
.expired { text-decoration: line-through; color: #777; } .expires { background: #fff3c4; }
.admin { background: #fde2e0; } .wrap { overflow-x: auto; } label { margin-right: 1.5em; }
@media print { form { display: none; } body { margin: 0; font-size: 10px; } thead { display: table-header-group; }
  tr { break-inside: avoid; } thead th { position: static; } }
";

const SCRIPT: &str = "
const fields = ['person', 'host', 'profile'].map(id => document.getElementById(id));
function filter() {
  const [person, host, profile] = fields.map(field => field.value.trim().toLowerCase());
  for (const row of document.querySelectorAll('#list tbody tr')) {
    const [p, h, f] = [0, 1, 2].map(i => row.cells[i].textContent.toLowerCase());
    row.hidden = !(p.includes(person) && h.includes(host) && f.includes(profile));
  }
  const heads = [...document.querySelectorAll('#matrix thead th')];
  const shown = heads.map((head, i) => i === 0 || head.textContent.toLowerCase().includes(host));
  heads.forEach((head, i) => { head.hidden = !shown[i]; });
  for (const row of document.querySelectorAll('#matrix tbody tr')) {
    [...row.cells].forEach((cell, i) => { cell.hidden = !shown[i]; });
    const fits = !profile || [...row.cells].some((cell, i) => i > 0 && shown[i] && cell.textContent.toLowerCase().includes(profile));
    row.hidden = !(row.cells[0].textContent.toLowerCase().includes(person) && fits);
  }
}
fields.forEach(field => field.addEventListener('input', filter));
document.getElementById('filters').addEventListener('submit', event => event.preventDefault());
";

/// The page. Cells with an expiry date are marked; closed accounts are struck through.
pub fn audit(audit: &Audit) -> String {
    let people = audit.people();
    let hosts: Vec<&String> = audit.hosts.keys().collect();
    let mut page =
        String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    // Writing into a String cannot fail.
    let _ = write!(
        page,
        "<title>Access on {day}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>Who may do what where, on {day}</h1>\n\
         <p>{} people, {} hosts. <span class=\"expires\">Marked</span>: the account closes on the day shown. \
         <span class=\"expired\">Struck through</span>: it is closed. <span class=\"admin\">Red</span>: \
         everything is allowed.</p>\n\
         <form id=\"filters\"><label>Person <input id=\"person\"></label><label>Host <input id=\"host\"></label>\
         <label>Profile <input id=\"profile\"></label></form>\n",
        people.len(),
        hosts.len(),
        day = audit.day,
    );
    if people.len() * hosts.len() <= MATRIX_CELLS {
        matrix(&mut page, audit, &people, &hosts);
    } else {
        page.push_str(
            "<p>The matrix would be too large for a page; the list has the same content.</p>\n",
        );
    }
    list(&mut page, audit);
    let _ = write!(page, "<script>{SCRIPT}</script>\n</body>\n</html>\n");
    page
}

fn matrix<'a>(
    page: &mut String,
    audit: &Audit,
    people: impl IntoIterator<Item = &'a &'a UserName>,
    hosts: &[&String],
) {
    page.push_str("<h2>Matrix</h2>\n<div class=\"wrap\"><table id=\"matrix\" class=\"matrix\">\n<thead><tr><th>Person</th>");
    for host in hosts {
        let _ = write!(page, "<th>{}</th>", escape(host));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for person in people {
        let _ = write!(page, "<tr><th>{person}</th>");
        for host in hosts {
            match audit.hosts.get(*host).and_then(|cells| cells.get(*person)) {
                None => page.push_str("<td></td>"),
                Some(cell) => {
                    let until =
                        cell.expires.map(|day| format!("<br><small>closed from {day}</small>"));
                    let until = until.unwrap_or_default();
                    let _ = write!(page, "<td{}>{}{until}</td>", class(cell), cell.profile);
                }
            }
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}

/// What the hosts of one row have in common: person, profile and ways.
type Alike<'a> = (&'a UserName, &'a str, &'a [Via]);

/// A row for each person, profile and way, with all hosts where they are the same.
fn list(page: &mut String, audit: &Audit) {
    page.push_str(
        "<h2>List</h2>\n<table id=\"list\">\n<thead><tr><th>Person</th><th>Hosts</th><th>Profile</th>\
         <th>How</th><th>Closed from</th><th>Keys</th></tr></thead>\n<tbody>\n",
    );
    let mut rows: BTreeMap<Alike<'_>, (&Cell, Vec<&str>)> = BTreeMap::new();
    for (host, cells) in &audit.hosts {
        for (user, cell) in cells {
            let row = rows.entry((user, cell.profile.name(), &cell.via));
            row.or_insert_with(|| (cell, Vec::new())).1.push(host);
        }
    }
    for ((user, profile, via), (cell, hosts)) in rows {
        let ways: Vec<String> = via.iter().map(describe).collect();
        let expires = cell.expires.map(|day| day.to_string()).unwrap_or_default();
        let _ = writeln!(
            page,
            "<tr{}><td>{user}</td><td>{}</td><td>{profile}</td><td>{}</td><td>{expires}</td><td>{}</td></tr>",
            class(cell),
            escape(&hosts.join(", ")),
            escape(&ways.join(" and ")),
            cell.keys,
        );
    }
    page.push_str("</tbody></table>\n");
}

fn class(cell: &Cell) -> &'static str {
    match (cell.expired, cell.expires, cell.profile.name()) {
        (true, ..) => " class=\"expired\"",
        (_, Some(_), _) => " class=\"expires\"",
        (_, _, "admin") => " class=\"admin\"",
        _ => "",
    }
}

/// Names of people have no character that means something to HTML; those of roles, and of hosts in users.json, may.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
