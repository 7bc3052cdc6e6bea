//! Which way a path takes, in which order, and what is refused.
#![allow(clippy::unwrap_used)]

use super::*;

fn path(n: u8) -> StorePath {
    format!("/nix/store/{}-p{n}", "0".repeat(32)).parse().unwrap()
}

fn object(n: u8, size: u64) -> ObjectRef {
    ObjectRef { id: ObjectId::of(&[n]), size }
}

fn base(n: u8) -> Base {
    Base { path: path(n), nar_hash: NarHash::of(&[n]) }
}

fn full(n: u8, size: u64, at: Option<(usize, u64)>) -> Offer {
    let at = at.map(|(pack, offset)| Place { pack, offset });
    Offer::Full { object: object(n, size), at }
}

fn closure(paths: &[(u8, &[u8])]) -> Closure {
    let info = |(n, refs): &(u8, &[u8])| PathInfo {
        path: path(*n),
        nar_hash: NarHash::of(&[*n]),
        nar_size: 1000,
        references: refs.iter().map(|r| path(*r)).collect(),
    };
    Closure { format: 1, paths: paths.iter().map(info).collect() }
}

fn delivery(offers: &[(u8, Vec<Offer>)]) -> Delivery {
    let offers = offers.iter().map(|(n, o)| (path(*n), o.clone())).collect();
    Delivery { format: 1, packs: vec![object(100, 50), object(101, 50)], offers }
}

#[test]
fn unknown_offers_are_passed_over() {
    let p = path(1);
    let json = format!(
        r#"{{"format":1,"offers":{{"{p}":[{{"kind":"telepathy","base":"x"}},{{"kind":"full","object":{{"id":"{}","size":3}}}}]}}}}"#,
        ObjectId::of(b"abc")
    );
    let delivery: Delivery = serde_json::from_str(&json).unwrap();
    assert_eq!(delivery.full(&p).unwrap().size, 3);
    assert_eq!(delivery.full(&path(2)), Err(Flaw::NoOffer(path(2))));
    assert_eq!(delivery.best(&p, |o| o.size, |_| true).unwrap().object.size, 3);
}

#[test]
fn a_patch_counts_only_with_all_its_bases() {
    let patch = |n, size, bases: &[u8]| Offer::Patch {
        object: object(n, size),
        bases: bases.iter().map(|n| base(*n)).collect(),
        at: None,
    };
    let offers =
        vec![full(1, 100, None), patch(2, 5, &[2, 3]), patch(3, 9, &[2]), patch(4, 1, &[])];
    let text = serde_json::to_string(&offers).unwrap();
    assert!(text.contains(r#"{"kind":"patch","object":{"#), "{text}");
    let delivery = delivery(&[(1, serde_json::from_str(&text).unwrap())]);
    let best = |has: &[u8], here: &[u8]| {
        let has = |b: &Base| has.iter().any(|n| *b == base(*n));
        let to_come = |o: &ObjectRef| match here.iter().any(|n| o.id == object(*n, 0).id) {
            true => 0,
            false => o.size,
        };
        delivery.best(&path(1), to_come, has).unwrap().object.size
    };
    let sizes = (best(&[2, 3], &[]), best(&[2], &[]), best(&[3], &[]), best(&[], &[]));
    assert_eq!(sizes, (5, 9, 100, 100));
    assert_eq!(best(&[2, 3], &[1]), 100, "what is here already needs no patch");
    assert_eq!(delivery.full(&path(1)).unwrap().size, 100);
}

/// What an agent from before patches and packs reads: the same, but without them.
#[test]
fn an_old_agent_passes_over_patches_and_packs() {
    #[derive(Deserialize)]
    #[serde(tag = "kind", rename_all = "kebab-case")]
    enum OldOffer {
        Full {
            object: ObjectRef,
        },
        #[serde(other)]
        Unknown,
    }
    #[derive(Deserialize)]
    struct OldDelivery {
        offers: BTreeMap<StorePath, Vec<OldOffer>>,
    }
    let at = Some(Place { pack: 0, offset: 0 });
    let patch = Offer::Patch { object: object(1, 3), bases: vec![base(2)], at };
    let new = delivery(&[(1, vec![patch, full(2, 3, Some((0, 3)))])]);
    let old: OldDelivery = serde_json::from_str(&serde_json::to_string(&new).unwrap()).unwrap();
    let old = &old.offers[&path(1)];
    assert!(matches!(old[0], OldOffer::Unknown));
    assert!(matches!(&old[1], OldOffer::Full { object } if object.size == 3));
}

#[test]
fn packs_are_as_they_are_told() {
    let closure = closure(&[(1, &[]), (2, &[1])]);
    let check =
        |one: Offer, two: Offer| delivery(&[(1, vec![one]), (2, vec![two])]).validate(&closure);
    let at = |pack, offset| Some((pack, offset));
    assert_eq!(check(full(1, 20, at(0, 0)), full(2, 30, at(0, 20))), Ok(()));
    assert_eq!(check(full(1, 20, at(0, 0)), full(2, 50, at(1, 0))), Ok(()));
    assert_eq!(check(full(1, 20, at(0, 0)), full(1, 20, at(0, 0))), Ok(()), "one object for both");
    let outside = |found| assert_eq!(found, Err(Flaw::OutsidePack(path(2))));
    outside(check(full(1, 20, at(0, 0)), full(2, 31, at(0, 20))));
    outside(check(full(1, 20, at(0, 0)), full(2, 1, at(2, 0))));
    outside(check(full(1, 20, at(0, 0)), full(2, 2, at(0, u64::MAX))));
    let overlap = |found: Result<(), Flaw>| assert!(matches!(found, Err(Flaw::Overlap(_))));
    overlap(check(full(1, 20, at(0, 0)), full(2, 20, at(0, 19))));
    overlap(check(full(1, 20, at(0, 0)), full(2, 20, at(0, 0))));
    let none = delivery(&[(1, vec![])]).validate(&closure);
    assert_eq!(none, Err(Flaw::NoOffer(path(1))));
}

#[test]
fn missing_paths_come_as_they_stand_in_packs_and_after_what_they_need() {
    let closure = closure(&[(1, &[]), (2, &[1]), (3, &[]), (4, &[3, 2])]);
    let offers = [
        (1, vec![full(1, 5, Some((1, 0)))]),
        (2, vec![full(2, 5, None)]),
        (3, vec![full(3, 5, Some((0, 20)))]),
        (4, vec![full(4, 5, Some((0, 0)))]),
    ];
    let names = |lacks: &[u8]| -> String {
        let lacks = lacks.iter().map(|n| path(*n)).collect();
        let missing = delivery(&offers).missing(&closure, &lacks, |_| 0, |_| false).unwrap();
        missing.iter().map(|m| m.path.name()).collect()
    };
    // 4 stands first, and needs 3 and 2, which needs 1.
    assert_eq!(names(&[1, 2, 3, 4]), "p3p1p2p4");
    assert_eq!(names(&[1, 2, 3]), "p3p1p2");
    assert_eq!(names(&[4]), "p4");
}

#[test]
fn a_fetch_is_told_now_and_then() {
    let (soon, later) = (Duration::from_secs(60), Duration::from_secs(600));
    assert!(worth_telling(5, 0, 100, later) && worth_telling(99, 50, 100, later));
    assert!(!worth_telling(50, 0, 100, soon), "too soon");
    assert!(!worth_telling(54, 50, 100, later), "too little");
    assert!(!worth_telling(0, 0, 1, later));
}

#[test]
fn batches_are_large_enough_and_few() {
    let item = |size| Missing {
        path: path(1),
        object: object(1, size),
        here: 0,
        nar_size: 2 * size,
        bases: vec![],
        slice: None,
    };
    let sizes = |sizes: &[u64]| -> Vec<usize> {
        let items: Vec<Missing> = sizes.iter().map(|s| item(*s)).collect();
        batches(&items).iter().map(|b| b.len()).collect()
    };
    assert_eq!(sizes(&[]), Vec::<usize>::new());
    assert_eq!(sizes(&[1, 2, 3]), [3]);
    assert_eq!(sizes(&[BATCH, 1, 1]), [1, 2]);
    assert_eq!(sizes(&[1, BATCH, 1]), [2, 1]);
    assert!(sizes(&[BATCH; 1000]).len() <= BATCHES as usize + 1);
    let items: Vec<Missing> = [BATCH, BATCH + 1, 5].into_iter().map(item).collect();
    assert_eq!(room(&items), 2 * (2 * BATCH + 6) + 2 * BATCH + 1);
}
