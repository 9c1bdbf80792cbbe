package hopsworksflink.format;

/** A value is not exactly one record of the columns; the message says why. */
public final class Undecodable extends Exception {

    private static final long serialVersionUID = 1L;

    public Undecodable(String reason) {
        // Without a stack trace, which costs more than decoding: a topic may hold many such records.
        super(reason, null, false, false);
    }
}
