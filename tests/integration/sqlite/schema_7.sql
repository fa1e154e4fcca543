PRAGMA application_id = 1144081479;
PRAGMA user_version = 7;
BEGIN TRANSACTION;
CREATE TABLE entry (
        key TEXT PRIMARY KEY,
        value BLOB NOT NULL,
        expire_time_ms INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
;
INSERT INTO "entry" VALUES('record',X'7365616C6564',9000000000000);
CREATE TABLE event (
        sequence INTEGER PRIMARY KEY,
        issuer_id TEXT NOT NULL,
        kind INTEGER NOT NULL,
        subject_id TEXT NOT NULL,
        operation_id TEXT NOT NULL,
        consumer_id TEXT NOT NULL,
        operation_type INTEGER NOT NULL,
        status INTEGER NOT NULL,
        receive_time_ms INTEGER NOT NULL,
        latest_receive_time_ms INTEGER NOT NULL,
        payload BLOB NOT NULL,
        state TEXT NOT NULL DEFAULT '',
        checksum INTEGER NOT NULL DEFAULT 0,
        payload_checksum INTEGER
    ) STRICT
    ;
INSERT INTO "event" VALUES(4,'ISSUER0001',1,'card-1','operation-3','consumer-1',1,2,1003,1003,X'7061796C6F61642033','',3456996627,1439594143);
INSERT INTO "event" VALUES(5,'ISSUER0001',1,'card-1','operation-4','consumer-1',1,2,1004,1004,X'7061796C6F61642034','',2507853358,3704747903);
INSERT INTO "event" VALUES(6,'ISSUER0001',1,'card-1','operation-5','consumer-1',1,2,1005,1005,X'7061796C6F61642035','',3957554665,2455501612);
INSERT INTO "event" VALUES(7,'ISSUER0001',1,'card-1','operation-6','consumer-1',1,2,1006,1006,X'7061796C6F61642036','',4178839956,472497877);
INSERT INTO "event" VALUES(8,'ISSUER0001',1,'card-1','operation-7','consumer-1',1,2,1007,1007,X'7061796C6F61642037','',4011482190,3029811602);
INSERT INTO "event" VALUES(9,'ISSUER0001',2,'consumer-1','operation-8','consumer-1',1,2,1000,1007,X'00','MÜDE',563558887,892799807);
INSERT INTO "event" VALUES(10,'ISSUER0001',2,'consumer-1','operation-9','consumer-1',1,2,1000,1007,X'7061796C6F6164','MÜDE',3292291954,81727906);
INSERT INTO "event" VALUES(11,'ISSUER0001',2,'consumer-1','operation-10','consumer-1',1,2,1000,1007,X'7061796C6F6164','MÜDE',1527784227,2728925718);
INSERT INTO "event" VALUES(12,'ISSUER0001',2,'consumer-1','operation-11','consumer-1',1,2,1000,1007,X'7061796C6F6164','MÜDE',3251003457,1729045656);
CREATE TABLE meta (
        only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
        log_id TEXT NOT NULL,
        trimmed_through INTEGER NOT NULL,
        fence INTEGER NOT NULL DEFAULT 0
    ) STRICT
    ;
INSERT INTO "meta" VALUES(1,'0a1b2c3d',3,70);
CREATE TABLE skipped_event (sequence INTEGER PRIMARY KEY) STRICT;
INSERT INTO "skipped_event" VALUES(9);
CREATE TABLE subscription (
        issuer_id TEXT NOT NULL,
        name TEXT NOT NULL,
        committed INTEGER NOT NULL,
        commit_time_ms INTEGER NOT NULL,
        fencing_token INTEGER NOT NULL DEFAULT 0,
        stale_through INTEGER NOT NULL DEFAULT 0,
        checksum INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (issuer_id, name)
    ) STRICT, WITHOUT ROWID
    ;
INSERT INTO "subscription" VALUES('ISSUER0001','fraud',6,1500,70,60,1453290648);
INSERT INTO "subscription" VALUES('ISSUER0002','risk',12,2500,0,0,834165698);
CREATE UNIQUE INDEX event_identity ON event (issuer_id, kind, subject_id, operation_id, operation_type, status, state);
CREATE INDEX event_time ON event (latest_receive_time_ms);
CREATE INDEX entry_expiry ON entry (expire_time_ms);
COMMIT;
