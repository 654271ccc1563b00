-- a copy of a database sends no dunning mail, also when somebody activates provider and engine in it
UPDATE dunning_provider
   SET active = false,
       state = 'paused',
       resume_at = NULL,
       pause_reason = 'neutralized copy of a database';
-- every login of ours, those among them to which no provider points any more
UPDATE ir_mail_server
   SET active = false, smtp_host = 'invalid', smtp_user = NULL, smtp_pass = NULL
 WHERE is_dunning_login OR id IN (SELECT mail_server_id FROM dunning_provider);
-- tokens of core's OAuth addons, where they are installed
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT column_name FROM information_schema.columns
                 WHERE table_name = 'ir_mail_server'
                   AND (column_name LIKE '%\_refresh\_token' OR column_name LIKE '%\_access\_token')
    LOOP
        EXECUTE format(
            'UPDATE ir_mail_server SET %I = NULL WHERE is_dunning_login OR id IN ('
            'SELECT mail_server_id FROM dunning_provider)', name);
    END LOOP;
END $$;
