//! Origins of changes as the store keeps them: the enum of the API as a row, and back.

pub use api::Origin;

use crate::store::Author;

impl From<&Author> for Origin {
    fn from(author: &Author) -> Self {
        let Author { uid, gid, pid, .. } = *author;
        // Another version's origin is nobody's: the daemon's own.
        Self::from_label(&author.origin, uid, gid, pid).unwrap_or(Self::Timer)
    }
}

impl From<Origin> for Author {
    fn from(origin: Origin) -> Self {
        let (uid, gid, pid) = match origin {
            Origin::Socket { uid, gid, pid } | Origin::Direct { uid, gid, pid } => (uid, gid, pid),
            _ => (0, 0, 0),
        };
        Self { uid, gid, pid, user: None, origin: origin.label().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_outlives_the_store_with_the_credentials_of_its_maker() {
        let socket = Origin::Socket { uid: 1000, gid: 100, pid: 7 };
        let author = Author::from(socket);
        assert_eq!((author.uid, author.gid, author.pid, author.origin.as_str()), (1000, 100, 7, "control"));
        let direct = Origin::Direct { uid: 0, gid: 0, pid: 9 };
        let all = [
            socket,
            direct,
            Origin::Signal,
            Origin::Timer,
            Origin::Tuning,
            Origin::Defence,
            Origin::Detection,
        ];
        assert!(all.iter().all(|origin| Origin::from(&Author::from(*origin)) == *origin));
        assert_eq!((socket.made_by().as_str(), Origin::Tuning.made_by().as_str()), ("uid 1000", "tuning"));
    }
}
