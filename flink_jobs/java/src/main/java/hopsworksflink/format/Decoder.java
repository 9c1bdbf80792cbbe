package hopsworksflink.format;

import org.apache.flink.table.data.GenericRowData;

/** Decodes the value of a record. */
public interface Decoder {

    /**
     * Sets the columns of a row, all of which are null.
     *
     * @return whether it is an event; not so a change that is left out.
     * @throws Undecodable the value is not exactly one record; the row may hold parts of it.
     */
    boolean decode(byte[] value, GenericRowData row) throws Undecodable;
}
