//! Random operations against a model of what containerd documents: same outcome, same snapshots, nothing left over.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Operation {
    Prepare(u8, Option<u8>),
    View(u8, Option<u8>),
    Commit(u8, u8),
    Remove(u8),
    Reopen,
    Cleanup,
}

#[derive(Debug, Default)]
struct Model(BTreeMap<String, (Kind, Option<String>)>);

impl Model {
    fn create(&mut self, kind: Kind, key: &str, parent: Option<&str>) -> bool {
        let fits = parent.is_none_or(|parent| self.0.get(parent).is_some_and(|(kind, _)| *kind == Kind::Committed));
        let made = fits && !self.0.contains_key(key);
        if made {
            self.0.insert(key.to_owned(), (kind, parent.map(ToOwned::to_owned)));
        }
        made
    }

    fn commit(&mut self, name: &str, key: &str) -> bool {
        let done = !self.0.contains_key(name) && self.0.get(key).is_some_and(|(kind, _)| *kind == Kind::Active);
        if done {
            let (_, parent) = self.0.remove(key).unwrap();
            self.0.insert(name.to_owned(), (Kind::Committed, parent));
        }
        done
    }

    fn remove(&mut self, key: &str) -> bool {
        let is_parent = self.0.values().any(|(_, parent)| parent.as_deref() == Some(key));
        !is_parent && self.0.remove(key).is_some()
    }
}

fn operation() -> impl Strategy<Value = Operation> {
    let name = 0..6_u8;
    prop_oneof![
        4 => (name.clone(), proptest::option::of(name.clone())).prop_map(|(key, parent)| Operation::Prepare(key, parent)),
        1 => (name.clone(), proptest::option::of(name.clone())).prop_map(|(key, parent)| Operation::View(key, parent)),
        4 => (name.clone(), name.clone()).prop_map(|(name, key)| Operation::Commit(name, key)),
        3 => name.prop_map(Operation::Remove),
        1 => Just(Operation::Reopen),
        1 => Just(Operation::Cleanup),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_backend_agrees_with_the_model(operations in proptest::collection::vec(operation(), 1..40)) {
        let (root, overlay) = open();
        let mut overlay = Some(overlay);
        let mut model = Model::default();
        let name = |n: u8| format!("default/1/n{n}");
        for operation in operations {
            let backend = overlay.as_ref().unwrap();
            let create = |kind, key: &str, parent: Option<&str>| {
                backend.create(kind, key, parent, BTreeMap::new(), Admission::Other).is_ok()
            };
            match operation {
                Operation::Prepare(key, parent) => {
                    let (key, parent) = (name(key), parent.map(name));
                    let expected = model.create(Kind::Active, &key, parent.as_deref());
                    prop_assert_eq!(create(NewKind::Active, &key, parent.as_deref()), expected);
                }
                Operation::View(key, parent) => {
                    let (key, parent) = (name(key), parent.map(name));
                    let expected = model.create(Kind::View, &key, parent.as_deref());
                    prop_assert_eq!(create(NewKind::View, &key, parent.as_deref()), expected);
                }
                Operation::Commit(to, key) => {
                    let (to, key) = (name(to), name(key));
                    let done = backend.commit(&to, &key, BTreeMap::new(), None).is_ok();
                    prop_assert_eq!(done, model.commit(&to, &key));
                }
                Operation::Remove(key) => {
                    let key = name(key);
                    prop_assert_eq!(backend.remove(&key).is_ok(), model.remove(&key));
                }
                Operation::Reopen => {
                    drop(overlay.take());
                    overlay = Some(Overlay::open(root.path()).unwrap());
                }
                Operation::Cleanup => backend.cleanup().unwrap(),
            }
            let infos = overlay.as_ref().unwrap().list(&Filter::parse(&[]).unwrap()).unwrap();
            let found: BTreeMap<_, _> = infos.into_iter().map(|info| (info.name, (info.kind, info.parent))).collect();
            prop_assert_eq!(&found, &model.0);
        }
        overlay.as_ref().unwrap().cleanup().unwrap();
        assert_in_step(root.path(), overlay.as_ref().unwrap());
    }
}
