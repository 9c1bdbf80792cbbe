package hopsworksflink.aggregate;

/** The last values. */
public final class LastN extends Ordered {
    private static final long serialVersionUID = 1L;

    public LastN() {
        super(false);
    }
}
