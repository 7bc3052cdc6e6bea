//! The operators' page.

use crate::support::{WAVES, World, rolled_back};
use crate::waves::everywhere;

#[test]
fn the_page_shows_who_failed_and_lets_no_host_write_into_it() {
    let mut world = World::new();
    everywhere(&world, 1);
    world.publish(2, WAVES);
    world.start_release(2, "0s").ok();
    let hostile = ["</pre><script>alert(1)</script>", "\"'><img src=x onerror=y>", "a & b"];
    let mut report = rolled_back("aachen", 2, 1, 2, &hostile);
    report.notes = vec!["<b>bold</b>".into()];
    report.checks[0].saw = "<iframe>".into();
    report.agent = "<svg onload=x>".into();
    world.report(&report).ok();

    let page = world.as_operator("GET /", b"");
    assert_eq!(page.status, 200);
    for text in ["field", "stopped", "aachen", "rolled back", "check web failed", "calais"] {
        assert!(page.body.contains(text), "the page does not say {text}");
    }
    assert!(page.body.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page.body.contains("a &amp; b"));
    for tag in ["<script", "<img", "<b>", "<iframe", "<svg"] {
        assert!(!page.body.contains(tag), "{tag} got into the page");
    }
}

#[test]
fn the_page_has_something_to_say_before_the_first_release() {
    let mut world = World::empty();
    world.start();
    let page = world.as_operator("GET /", b"");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("There is no release yet"));
}
