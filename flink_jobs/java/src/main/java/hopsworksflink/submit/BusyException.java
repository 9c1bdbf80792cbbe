package hopsworksflink.submit;

/** Another submission has its turn in this JobManager. Nothing was started; it is worth coming again. */
public final class BusyException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    BusyException(String message) {
        super(message);
    }
}
